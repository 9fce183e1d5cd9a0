// SPDX-License-Identifier: GPL-2.0-or-later

// The settings `net.ipv4.tcp_*` of a namespace (net/ipv4/sysctl_net_ipv4.c): names, defaults and ranges in one table,
// values as connections read them. What stands here is read where the kernel reads it; what Linux keeps for show alone
// (tcp_fack, tcp_adv_win_scale since 6.6) is kept here too.

/// A setting that is one number.
enum TCPSetting: UInt8, CaseIterable {
  case sack, timestamps, windowScaling, dsack, ecn, ecnFallback
  case finTimeout, synRetries, synACKRetries, synLinearTimeouts, retries1, retries2, orphanRetries
  case maxSynBacklog, abortOnOverflow, synCookies
  case keepaliveTime, keepaliveProbes, keepaliveInterval
  case slowStartAfterIdle, reordering, maxReordering, recovery, frto, earlyRetransmit
  case mtuProbing, baseMSS, minimumSendMSS, mtuProbeFloor, probeThreshold, probeInterval
  case limitOutputBytes, notSentLowWater, challengeACKLimit, invalidRateLimit
  case rfc1337, timeWaitReuse, timeWaitReuseDelay, maxTimeWaitBuckets
  case moderateReceiveBuffer, autocorking, minimumTSOSegments, tsoWindowDivisor, tsoRTTLogarithm
  case pingPongThreshold
  case pacingSlowStartRatio, pacingAvoidanceRatio, minimumRTTWindow, rtoMinimum, rtoMaximum
  case advertisedWindowScale, applicationWindow, fack, thinLinearTimeouts, shrinkWindow, reflectTOS
  case workaroundSignedWindows, standardUrgent, retransCollapse, noMetricsSave, noThresholdMetricsSave
  case listenBacklogMaximum, compressedSACKDelay, compressedSACKSlack, compressedSACKs

  /// With slashes.
  var path: String { Self.table[Int(rawValue)].path }
  var standard: Int64 { Self.table[Int(rawValue)].standard }
  var range: ClosedRange<Int64> { Self.table[Int(rawValue)].range }

  private struct Entry {
    var setting: TCPSetting
    var path: String
    var standard: Int64
    var range: ClosedRange<Int64>
  }

  private static let table: [Entry] = {
    let byte: ClosedRange<Int64> = 0...255
    let word = Int64(Int32.min)...Int64(Int32.max)
    let retries: ClosedRange<Int64> = 1...127
    let seconds = Int64(Int32.min / 1000)...Int64(Int32.max / 1000)
    func tcp(_ setting: TCPSetting, _ name: String, _ standard: Int64, _ range: ClosedRange<Int64>) -> Entry {
      Entry(setting: setting, path: "net/ipv4/tcp_" + name, standard: standard, range: range)
    }
    let entries = [
      tcp(.sack, "sack", 1, byte), tcp(.timestamps, "timestamps", 1, byte),
      tcp(.windowScaling, "window_scaling", 1, byte), tcp(.dsack, "dsack", 1, byte),
      tcp(.ecn, "ecn", 2, 0...5), tcp(.ecnFallback, "ecn_fallback", 1, 0...1),
      tcp(.finTimeout, "fin_timeout", 60, seconds), tcp(.synRetries, "syn_retries", 6, retries),
      tcp(.synACKRetries, "synack_retries", 5, byte),
      tcp(.synLinearTimeouts, "syn_linear_timeouts", 4, 0...127),
      tcp(.retries1, "retries1", 3, byte), tcp(.retries2, "retries2", 15, byte),
      tcp(.orphanRetries, "orphan_retries", 0, byte),
      tcp(.maxSynBacklog, "max_syn_backlog", 2048, word),
      tcp(.abortOnOverflow, "abort_on_overflow", 0, byte), tcp(.synCookies, "syncookies", 1, byte),
      tcp(.keepaliveTime, "keepalive_time", 7200, seconds),
      tcp(.keepaliveProbes, "keepalive_probes", 9, byte),
      tcp(.keepaliveInterval, "keepalive_intvl", 75, seconds),
      tcp(.slowStartAfterIdle, "slow_start_after_idle", 1, byte),
      tcp(.reordering, "reordering", 3, 1...word.upperBound),
      tcp(.maxReordering, "max_reordering", 300, 1...word.upperBound),
      tcp(.recovery, "recovery", 1, byte), tcp(.frto, "frto", 2, byte),
      tcp(.earlyRetransmit, "early_retrans", 3, 0...4),
      tcp(.mtuProbing, "mtu_probing", 0, byte), tcp(.baseMSS, "base_mss", 1024, word),
      tcp(.minimumSendMSS, "min_snd_mss", 48, 48...65535),
      tcp(.mtuProbeFloor, "mtu_probe_floor", 48, 48...65535),
      tcp(.probeThreshold, "probe_threshold", 8, word),
      tcp(.probeInterval, "probe_interval", 600, 0...word.upperBound),
      tcp(.limitOutputBytes, "limit_output_bytes", 4_194_304, word),
      tcp(.notSentLowWater, "notsent_lowat", Int64(UInt32.max), 0...Int64(UInt32.max)),
      tcp(.challengeACKLimit, "challenge_ack_limit", Int64(Int32.max), word),
      tcp(.invalidRateLimit, "invalid_ratelimit", 500, 0...word.upperBound),
      tcp(.rfc1337, "rfc1337", 0, byte),
      tcp(.timeWaitReuse, "tw_reuse", 2, 0...2),
      tcp(.timeWaitReuseDelay, "tw_reuse_delay", 1000, 1...60_000),
      tcp(.maxTimeWaitBuckets, "max_tw_buckets", 131_072, word),
      tcp(.moderateReceiveBuffer, "moderate_rcvbuf", 1, byte),
      tcp(.autocorking, "autocorking", 1, 0...1), tcp(.minimumTSOSegments, "min_tso_segs", 2, 1...255),
      tcp(.tsoWindowDivisor, "tso_win_divisor", 3, byte), tcp(.tsoRTTLogarithm, "tso_rtt_log", 9, byte),
      tcp(.pingPongThreshold, "pingpong_thresh", 1, 1...255),
      tcp(.pacingSlowStartRatio, "pacing_ss_ratio", 200, 0...1000),
      tcp(.pacingAvoidanceRatio, "pacing_ca_ratio", 120, 0...1000),
      tcp(.minimumRTTWindow, "min_rtt_wlen", 300, 0...86_400),
      tcp(.rtoMinimum, "rto_min_us", 200_000, 1...word.upperBound),
      tcp(.rtoMaximum, "rto_max_ms", 120_000, 1000...120_000),
      tcp(.advertisedWindowScale, "adv_win_scale", 1, -31...31),
      tcp(.applicationWindow, "app_win", 31, 0...31),
      tcp(.fack, "fack", 0, byte), tcp(.thinLinearTimeouts, "thin_linear_timeouts", 0, byte),
      tcp(.shrinkWindow, "shrink_window", 0, 0...1), tcp(.reflectTOS, "reflect_tos", 0, 0...1),
      tcp(.workaroundSignedWindows, "workaround_signed_windows", 0, byte),
      tcp(.standardUrgent, "stdurg", 0, byte), tcp(.retransCollapse, "retrans_collapse", 1, byte),
      tcp(.noMetricsSave, "no_metrics_save", 0, byte),
      tcp(.noThresholdMetricsSave, "no_ssthresh_metrics_save", 1, 0...1),
      tcp(.compressedSACKDelay, "comp_sack_delay_ns", 1_000_000, 0...Int64.max),
      tcp(.compressedSACKSlack, "comp_sack_slack_ns", 100_000, 0...Int64.max),
      tcp(.compressedSACKs, "comp_sack_nr", 44, byte),
      Entry(
        setting: .listenBacklogMaximum, path: "net/core/somaxconn", standard: 4096, range: 0...word.upperBound
      ),
    ]
    return entries.sorted { $0.setting.rawValue < $1.setting.rawValue }
  }()

  static let byPath = Dictionary(uniqueKeysWithValues: allCases.map { ($0.path, $0) })
}

/// The least, the first and the largest size of a buffer (tcp_rmem, tcp_wmem).
struct BufferSizes {
  var minimum: Int
  var standard: Int
  var maximum: Int

  init(_ minimum: Int, _ standard: Int, _ maximum: Int) {
    self.minimum = minimum
    self.standard = standard
    self.maximum = maximum
  }
}

/// The settings of TCP in a namespace.
struct TCPSettings {
  private var values = InlineArray<72, Int32>(repeating: 0)
  var receiveMemory = BufferSizes(4096, 131_072, 6_291_456)
  var sendMemory = BufferSizes(4096, 16_384, 4_194_304)
  var congestionControl = CongestionAlgorithm.cubic

  init() {
    for setting in TCPSetting.allCases { self[setting] = Int(setting.standard) }
  }

  /// What does not fit is as good as without limit.
  subscript(setting: TCPSetting) -> Int {
    @inline(__always) get { Int(values[Int(setting.rawValue)]) }
    set { values[Int(setting.rawValue)] = Int32(clamping: newValue) }
  }

  @inline(__always) func isOn(_ setting: TCPSetting) -> Bool { self[setting] != 0 }

  static let controlPath = "net/ipv4/tcp_congestion_control"
  static let availablePath = "net/ipv4/tcp_available_congestion_control"
  static let allowedPath = "net/ipv4/tcp_allowed_congestion_control"
  static let receivePath = "net/ipv4/tcp_rmem"
  static let sendPath = "net/ipv4/tcp_wmem"

  /// All of them with their defaults, as they are read.
  static let defaults: [String: String] = {
    var table: [String: String] = [:]
    for setting in TCPSetting.allCases { table[setting.path] = "\(setting.standard)" }
    table[controlPath] = CongestionAlgorithm.cubic.name
    let all = CongestionAlgorithm.allCases.map(\.name).joined(separator: " ")
    table[availablePath] = all
    table[allowedPath] = all
    table[receivePath] = "4096 131072 6291456"
    table[sendPath] = "4096 16384 4194304"
    return table
  }()

  /// What is kept when `value` is written over `old`. EINVAL: not such a value; ENOENT: no such congestion control.
  static func checked(_ value: String, over old: String, for path: String) throws(KernelError) -> String {
    switch path {
    case controlPath:
      guard CongestionAlgorithm(name: value) != nil else { throw .noSuchEntry }
      return value
    case availablePath, allowedPath: throw .accessDenied
    case receivePath, sendPath:
      // Fewer numbers leave the others as they are.
      var sizes = old.split(separator: " ").map(String.init)
      let words = value.split(separator: " ")
      guard !words.isEmpty, words.count <= 3 else { throw .invalidArgument }
      for (place, word) in words.enumerated() {
        guard let number = Int32(word), number >= 1 else { throw .invalidArgument }
        sizes[place] = "\(number)"
      }
      return sizes.joined(separator: " ")
    default:
      guard let setting = TCPSetting.byPath[path], let number = Int64(value), setting.range.contains(number)
      else { throw .invalidArgument }
      if setting == .ecn, number > 2 { throw .notSupported("the emulated kernel has no accurate ECN") }
      return "\(number)"
    }
  }

  /// Works out one of them from what was written.
  mutating func apply(_ path: String, _ value: String) {
    func sizes() -> BufferSizes? {
      let numbers = value.split(separator: " ").compactMap { Int($0) }
      return numbers.count == 3 ? BufferSizes(numbers[0], numbers[1], numbers[2]) : nil
    }
    switch path {
    case Self.controlPath: congestionControl = CongestionAlgorithm(name: value) ?? congestionControl
    case Self.receivePath: receiveMemory = sizes() ?? receiveMemory
    case Self.sendPath: sendMemory = sizes() ?? sendMemory
    default: if let setting = TCPSetting.byPath[path] { self[setting] = Int(value) ?? self[setting] }
    }
  }
}
