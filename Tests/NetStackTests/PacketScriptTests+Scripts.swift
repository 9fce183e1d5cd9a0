// SPDX-License-Identifier: GPL-2.0-or-later

// The scripts, each held to both stacks. A path takes 100 ms where nothing else is said.

extension PacketScriptTests {
  /// A passive connection whose other end takes segments of 1000 bytes.
  private static let accepted = """
    listen
    in S win 65535 mss 1000 sackok wscale 7
    out S ack 1 mss 1460 sackok
    +100 in . 1 ack 1 win 1000
    accept = 0

    """
  /// The same with segments of 1460.
  private static let wide = accepted.replacing("mss 1000", with: "mss 1460")
  /// The same where the path is searched, and a probe with what follows it is on its way.
  private static let probing =
    "sysctl net.ipv4.tcp_mtu_probing 2\n" + wide + """
      write 30000 = 30000
      out P 1..2921 ack 1 each 1460
      out P 2921..5841 ack 1 each 1460
      out P 5841..8761 ack 1 each 1460
      out P 8761..11681 ack 1 each 1460
      out P 11681..14601 ack 1 each 1460
      +100 in . 1 ack 14601 win 1000
      out . 14601..15843 ack 1
      out P 15843..18763 ack 1 each 1460
      out P 18763..21683 ack 1 each 1460
      out P 21683..24603 ack 1 each 1460
      out P 24603..27523 ack 1 each 1460
      out P 27523..30001 ack 1 each 1460

      """
  /// The same with timestamps.
  private static let stamped = """
    listen
    in S win 65535 mss 1000 sackok wscale 7 ts 1000
    out S ack 1 mss 1460 ecr 1000
    +100 in . 1 ack 1 win 1000 ts 1100
    accept = 0

    """
  /// The first without SACK.
  private static let plain = accepted.replacing("sackok ", with: "").replacing(" sackok", with: "")

  static let scripts = texts.map { name, text in PacketScript(name: name, text: text) }

  private static let texts: [(String, String)] = [
    (
      "handshake of who listens",
      """
      listen
      in S win 65535 mss 1000 sackok wscale 7 ts 100
      out S ack 1 mss 1460 sackok ecr 100
      +50 in . 1 ack 1 win 1000 ts 150
      accept = 0
      info state = 1
      +50 in P 1..101 ack 1 win 1000 ts 200
      out . 1 ack 101 ecr 200
      read 1000 = 100
      read 1000 = EAGAIN
      """
    ),
    (
      "a SYN-ACK that is not answered",
      """
      listen
      in S win 65535 mss 1000
      out S ack 1 mss 1460
      +1000 out S ack 1 mss 1460
      +2000 out S ack 1 mss 1460
      in . 1 ack 1
      accept = 0
      """
    ),
    (
      "a SYN that comes again: answered, twice a second at most, and the wait begins anew",
      """
      listen
      in S win 65535 mss 1000
      out S ack 1 mss 1460
      +300 in S win 65535 mss 1000
      out S ack 1 mss 1460
      +100 in S win 65535 mss 1000
      quiet +100
      +800 out S ack 1 mss 1460
      in . 1 ack 1
      accept = 0
      """
    ),
    (
      "what is not as it should be before the handshake ends",
      """
      listen
      in S win 65535 mss 1000 sackok wscale 7 ts 1000
      out S ack 1 mss 1460 ecr 1000
      +100 in . 1 ack 7 win 1000 ts 1100
      out R 7
      in . 1 ack 1 win 1000 ts 900
      out . 1 ack 1 ecr 1000
      in . 1 ack 1 win 1000 ts 900
      quiet +50
      +200 in . 1 ack 1 win 1000 ts 1100 ecr 5000
      quiet +50
      +500 in . 1 ack 1 win 1000 ts 1100 ecr 5000
      out . 1 ack 1 ecr 1000
      in R 1 win 1000 ts 900
      # What is echoed last is an acknowledgment's, which nobody could have answered before the handshake was over.
      in P 1..101 ack 1 win 1000 ts 1100
      out . 1 ack 1 ecr 1000
      accept = EAGAIN
      """
    ),
    (
      "handshake of who asks",
      """
      connect = EINPROGRESS
      out S mss 1460 sackok
      +1000 out S mss 1460 sackok
      +50 in S ack 1 win 65535 mss 1000 sackok wscale 7
      out . 1 ack 1
      connect = 0
      info state = 1
      write 100 = 100
      out P 1..101 ack 1
      """
    ),
    (
      "who has ended waits for the other end, and then for what is late",
      accepted + """
        close = 0
        out F 1 ack 1
        +100 in . 1 ack 2 win 1000
        in F 1 ack 2 win 1000
        out . 2 ack 2
        +100 in F 1 ack 2 win 1000
        out . 2 ack 2
        """
    ),
    (
      "where too many wait for the other end, nothing waits",
      "sysctl net.ipv4.tcp_max_tw_buckets 0\n" + accepted + """
        close = 0
        out F 1 ack 1
        +100 in . 1 ack 2 win 1000
        in F 1 ack 2 win 1000
        out R 2
        """
    ),
    (
      "where too many wait for what is late, nothing waits",
      "sysctl net.ipv4.tcp_max_tw_buckets 0\n" + accepted + """
        close = 0
        out F 1 ack 1
        +100 in F 1 ack 1 win 1000
        out . 2 ack 2
        in . 2 ack 2 win 1000
        in F 1 ack 2 win 1000
        out R 2
        """
    ),
    (
      "a device that takes less, and more again",
      wide + """
        write 2920 = 2920
        out P 1..2921 ack 1 each 1460
        +100 in . 1 ack 2921 win 1000
        mtu 1000
        write 2880 = 2880
        out P 2921..4841 ack 1 each 960
        out P 4841..5801 ack 1
        +100 in . 1 ack 5801 win 1000
        mtu 1500
        write 2920 = 2920
        out P 5801..8721 ack 1 each 1460
        """
    ),
    (
      "what was sent before a device took less is sent again in pieces",
      wide + """
        write 1460 = 1460
        out P 1..1461 ack 1
        write 1460 = 1460
        out P 1461..2921 ack 1
        mtu 1000
        +100 in . 1 ack 1 win 1000 sack 1461-2921
        +27 out . 1..961 ack 1
        +50 in . 1 ack 961 win 1000 sack 1461-2921
        out P 961..1461 ack 1
        """
    ),
    (
      "a segment that is larger than is known to get through says what the path takes",
      probing + """
        +100 in . 1 ack 30001 win 1000
        info cwnd = 22
        write 30000 = 30000
        out . 30001..31352 ack 1
        out P 31352..33836 ack 1 each 1242
        """
    ),
    (
      "the loss of such a segment says nothing else",
      probing + """
        +100 in . 1 ack 14601 win 1000 sack 15843-18763
        in . 1 ack 14601 win 1000 sack 15843-21683
        out . 14601..15843 ack 1
        info cwnd = 20
        """
    ),
    (
      "nobody listens",
      """
      in S win 65535 mss 1000
      out R ack 1
      """
    ),
    (
      "asked in vain",
      """
      connect = EINPROGRESS
      out S mss 1460
      +10 in R 0 ack 1
      quiet +100
      connect = ECONNREFUSED
      """
    ),
    (
      "three duplicates with SACK send again at once",
      accepted + """
        write 6000 = 6000
        out P 1..2001 ack 1 each 1000
        out P 2001..4001 ack 1 each 1000
        out P 4001..6001 ack 1 each 1000
        +100 in . 1 ack 1 win 1000 sack 1001-2001
        in . 1 ack 1 win 1000 sack 1001-3001
        in . 1 ack 1 win 1000 sack 1001-4001
        out . 1..1001 ack 1
        info phase = 3
        in . 1 ack 1 win 1000 sack 1001-6001
        +100 in . 1 ack 6001 win 1000
        info phase = 0
        """
    ),
    (
      "one duplicate waits for what may be reordered",
      accepted + """
        write 3000 = 3000
        out P 1..2001 ack 1 each 1000
        out P 2001..3001 ack 1 each 1000
        +100 in . 1 ack 1 win 1000 sack 2001-3001
        +27 out . 1..1001 ack 1
        """
    ),
    (
      "a tail that is lost is probed, then sent again",
      accepted + """
        write 2000 = 2000
        out P 1..2001 ack 1 each 1000
        +202 out P 1001..2001 ack 1
        +300 out . 1..1001 ack 1
        info phase = 4
        info retransmits = 1
        +600 out . 1..1001 ack 1
        """
    ),
    (
      "a timeout that was not needed is taken back",
      accepted + """
        write 4000 = 4000
        out P 1..2001 ack 1 each 1000
        out P 2001..4001 ack 1 each 1000
        +202 out P 3001..4001 ack 1
        +300 out . 1..1001 ack 1
        info phase = 4
        write 2000 = 2000
        in . 1 ack 2001 win 1000
        out P 4001..6001 ack 1 each 1000
        in . 1 ack 3001 win 1000
        info phase = 0
        info cwnd = 13
        """
    ),
    (
      "one segment for each two that were acknowledged in recovery",
      accepted + """
        write 20000 = 20000
        out P 1..2001 ack 1 each 1000
        out P 2001..4001 ack 1 each 1000
        out P 4001..6001 ack 1 each 1000
        out P 6001..8001 ack 1 each 1000
        out P 8001..10001 ack 1 each 1000
        +100 in . 1 ack 1 win 1000 sack 1001-4001
        out . 1..1001 ack 1
        in . 1 ack 1 win 1000 sack 1001-5001
        in . 1 ack 1 win 1000 sack 1001-6001
        out . 10001..11001 ack 1
        in . 1 ack 1 win 1000 sack 1001-7001
        in . 1 ack 1 win 1000 sack 1001-8001
        out . 11001..12001 ack 1
        """
    ),
    (
      "the first two duplicates let something new go",
      plain + """
        write 20000 = 20000
        out P 1..2001 ack 1 each 1000
        out P 2001..4001 ack 1 each 1000
        out P 4001..6001 ack 1 each 1000
        out P 6001..8001 ack 1 each 1000
        out P 8001..10001 ack 1 each 1000
        +100 in . 1 ack 1 win 1000
        out . 10001..11001 ack 1
        +5 in . 1 ack 1 win 1000
        out . 11001..12001 ack 1
        +5 in . 1 ack 1 win 1000
        out . 1..1001 ack 1
        """
    ),
    (
      "what comes twice is told, and what comes out of order",
      accepted + """
        in P 1..1001 ack 1 win 1000
        out . 1 ack 1001
        in P 1..1001 ack 1 win 1000
        out . 1 ack 1001 sack 1-1001
        in P 2001..3001 ack 1 win 1000
        out . 1 ack 1001 sack 2001-3001
        in P 4001..5001 ack 1 win 1000
        out . 1 ack 1001 sack 4001-5001,2001-3001
        in P 1001..2001 ack 1 win 1000
        out . 1 ack 3001 sack 4001-5001
        in P 3001..4001 ack 1 win 1000
        out . 1 ack 5001
        read 9000 = 5000
        """
    ),
    (
      "what waited for its turn and comes again is told",
      accepted + """
        in P 1001..3001 ack 1 win 1000
        out . 1 ack 1 sack 1001-3001
        in P 4001..5001 ack 1 win 1000
        out . 1 ack 1 sack 4001-5001,1001-3001
        in P 7001..8001 ack 1 win 1000
        out . 1 ack 1 sack 7001-8001,4001-5001,1001-3001
        in P 1..6001 ack 1 win 1000
        out . 1 ack 6001 sack 1001-3001,7001-8001
        in P 6001..8001 ack 1 win 1000
        out . 1 ack 8001 sack 7001-8001
        """
    ),
    (
      "an end that brings known data is not told as a duplicate",
      accepted + """
        in . 1..1001 ack 1 win 1000
        out . 1 ack 1001
        read 1000 = 1000
        in F 1..1001 ack 1 win 1000
        +40 out . 1 ack 1002
        close = 0
        out F 1 ack 1002
        """
    ),
    (
      "a buffer that the user has chosen needs no larger scale",
      """
      listen
      set rcvbuf 20000 = 0
      in S win 65535 mss 1000 wscale 7
      out S ack 1 win 18980 mss 1460 wscale 0
      """
    ),
    (
      "a D-SACK takes a reduction back",
      accepted + """
        write 5000 = 5000
        out P 1..2001 ack 1 each 1000
        out P 2001..4001 ack 1 each 1000
        out P 4001..5001 ack 1
        +100 in . 1 ack 1 win 1000 sack 1001-4001
        out . 1..1001 ack 1
        info phase = 3
        in . 1 ack 5001 win 1000
        +50 in . 1 ack 5001 win 1000 sack 1-1001
        info phase = 0
        info cwnd = 10
        """
    ),
    (
      "a window that is closed is probed ever more slowly",
      accepted + """
        write 100 = 100
        out P 1..101 ack 1
        +100 in . 1 ack 101 win 0
        write 100 = 100
        quiet +250
        +50 out . 100 ack 1
        +10 in . 1 ack 101 win 0
        +592 out . 100 ack 1
        in . 1 ack 101 win 1000
        out P 101..201 ack 1
        """
    ),
    (
      "keepalive",
      accepted + """
        set keepidle 2 = 0
        set keepintvl 1 = 0
        set keepcnt 2 = 0
        set keepalive 1 = 0
        +2000 out . 0 ack 1
        +100 in . 1 ack 1 win 1000
        +2000 out . 0 ack 1
        +1000 out . 0 ack 1
        +1000 out R 1 ack 1
        read 10 = ETIMEDOUT
        """
    ),
    (
      "a small segment waits for the one before it",
      accepted + """
        write 100 = 100
        out P 1..101 ack 1
        write 100 = 100
        write 100 = 100
        quiet +50
        +50 in . 1 ack 101 win 1000
        out P 101..301 ack 1
        set nodelay 1 = 0
        write 10 = 10
        out P 301..311 ack 1
        write 10 = 10
        out P 311..321 ack 1
        """
    ),
    (
      "corked, a part of a segment waits for the rest or for its time",
      accepted + """
        set cork 1 = 0
        write 600 = 600
        quiet +100
        write 600 = 600
        out . 1..1001 ack 1
        +100 in . 1 ack 1001 win 1000
        quiet +100
        set cork 0 = 0
        out P 1001..1201 ack 1
        +100 in . 1 ack 1201 win 1000
        write 50 more = 50
        quiet +100
        write 50 = 50
        out P 1201..1301 ack 1
        """
    ),
    (
      "records share no segment",
      accepted + """
        set nodelay 1 = 0
        write 10000 = 10000
        out P 1..2001 ack 1 each 1000
        out P 2001..4001 ack 1 each 1000
        out P 4001..6001 ack 1 each 1000
        out P 6001..8001 ack 1 each 1000
        out P 8001..10001 ack 1 each 1000
        write 400 eor = 400
        write 300 = 300
        write 300 eor = 300
        write 200 = 200
        +100 in . 1 ack 10001 win 1000
        out P 10001..10401 ack 1
        out P 10401..11001 ack 1
        out P 11001..11201 ack 1
        """
    ),
    (
      "acknowledgments are quick at first, then wait",
      accepted + """
        in P 1..101 ack 1 win 1000
        out . 1 ack 101
        read 100 = 100
        write 100 = 100
        out P 1..101 ack 101
        in P 101..201 ack 101 win 1000
        +40 out . 101 ack 201
        """
    ),
    (
      "a mark of congestion is echoed until its end is told",
      """
      sysctl net.ipv4.tcp_ecn 1
      listen
      in SEC win 65535 mss 1000 sackok wscale 7
      out SE ack 1 mss 1460
      +100 in . 1 ack 1 win 1000
      accept = 0
      in P 1..1001 ack 1 win 1000 ect
      out . 1 ack 1001
      in P 1001..2001 ack 1 win 1000 ce
      out E 1 ack 2001
      in P 2001..3001 ack 1 win 1000 ect
      out E 1 ack 3001
      in PC 3001..4001 ack 1 win 1000 ect
      out . 1 ack 4001
      write 2000 = 2000
      out P 1..2001 ack 4001 ect each 1000
      +100 in E 4001 ack 2001 win 1000
      info cwnd = 3
      write 1000 = 1000
      out PC 2001..3001 ack 4001 ect
      """
    ),
    (
      "an old timestamp is not believed",
      stamped + """
        in P 1..101 ack 1 win 1000 ts 1101
        out . 1 ack 101 ecr 1101
        +600 in P 101..201 ack 1 win 1000 ts 900
        out . 1 ack 101 ecr 1101
        read 1000 = 100
        read 1000 = EAGAIN
        """
    ),
    (
      "what is not quite right is challenged",
      accepted + """
        in R 10 win 1000
        out . 1 ack 1
        +600 in S 1 win 1000
        out . 1 ack 1
        info state = 1
        +600 in R 1 win 1000
        read 10 = ECONNRESET
        """
    ),
    (
      "closed by this end, then by the other",
      accepted + """
        shutdown = 0
        out F 1 ack 1
        info state = 4
        +100 in . 1 ack 2 win 1000
        info state = 5
        in P 1..101 ack 2 win 1000
        out . 2 ack 101
        read 1000 = 100
        in F 101 ack 2 win 1000
        out . 2 ack 102
        read 10 = 0
        """
    ),
    (
      "closed by the other end, then by this one",
      accepted + """
        in F 1 ack 1 win 1000
        out . 1 ack 2
        info state = 8
        read 10 = 0
        write 100 = 100
        out P 1..101 ack 2
        +100 in . 2 ack 101 win 1000
        close = 0
        out F 101 ack 2
        +100 in . 2 ack 102 win 1000
        in . 2 ack 102 win 1000
        out R 102
        """
    ),
    (
      "both close at once",
      accepted + """
        shutdown = 0
        out F 1 ack 1
        in F 1 ack 1 win 1000
        out . 2 ack 2
        info state = 11
        in . 2 ack 2 win 1000
        """
    ),
    (
      "what comes while it waits: acknowledgments in silence, what is out of the window answered twice a second",
      accepted + """
        shutdown = 0
        out F 1 ack 1
        in F 1 ack 2 win 1000
        out . 2 ack 2
        +100 in . 2 ack 2 win 1000
        quiet +100
        in . 1 ack 2 win 1000
        out . 2 ack 2
        +100 in . 1 ack 2 win 1000
        quiet +100
        +600 in F 1 ack 2 win 1000
        out . 2 ack 2
        in P 1..101 ack 2 win 1000
        out . 2 ack 2
        in R 1 win 1000
        quiet +100
        +600 in . 1 ack 2 win 1000
        out . 2 ack 2
        in R 2 win 1000
        +600 in . 1 ack 2 win 1000
        out R 2
        """
    ),
    (
      "while it waits, what is older than what was seen is answered",
      stamped + """
        shutdown = 0
        out F 1 ack 1
        in F 1 ack 2 win 1000 ts 1101
        out . 2 ack 2 ecr 1101
        in . 2 ack 2 win 1000 ts 900
        out . 2 ack 2 ecr 1101
        +600 in . 2 ack 2 win 1000 ts 1200
        quiet +50
        +600 in . 1 ack 2 win 1000 ts 1200
        out . 2 ack 2 ecr 1200
        """
    ),
    (
      "what ends behind the window is taken only when all has been read",
      """
      sysctl net.ipv4.tcp_rmem 4096 8192 8192
      listen
      in S win 65535 mss 1000 sackok
      out S ack 1 mss 1460
      +100 in . 1 ack 1 win 10000
      accept = 0
      in P 1..101 ack 1 win 10000
      out . 1 ack 101
      in . 2601..3801 ack 1 win 10000
      out . 1 ack 101 sack none
      read 1000 = 100
      in . 2601..3801 ack 1 win 10000
      out . 1 ack 101 sack 2601-3801
      """
    ),
    (
      "a reset behind what came out of order, or before a FIN that has come",
      accepted + """
        in P 101..201 ack 1 win 1000
        out . 1 ack 1 sack 101-201
        in R 151 win 1000
        out . 1 ack 1 sack 101-201
        info state = 1
        in R 201 win 1000
        read 10 = ECONNRESET
        """
    ),
    (
      "a reset with the number of the FIN that it followed",
      accepted + """
        in F 1 ack 1 win 1000
        out . 1 ack 2
        info state = 8
        in R 1 win 1000
        write 10 = EPIPE
        """
    ),
    (
      "what is older by one is no older, an acknowledgment out of turn is none, a SYN is challenged",
      stamped + """
        in P 1..101 ack 1 win 1000 ts 1101
        out . 1 ack 101 ecr 1101
        in P 101..201 ack 1 win 1000 ts 1100
        out . 1 ack 201 ecr 1101
        read 1000 = 200
        in . 201 ack 1 win 1000 ts 1101
        in . 201 ack 1 win 1000 ts 1050
        quiet +100
        in . 101 ack 1 win 1000 ts 1050
        quiet +100
        +600 in P 201..301 ack 1 win 1000 ts 1000
        out . 1 ack 201 ecr 1101
        +600 in S 201 win 1000 ts 1000
        out . 1 ack 201 ecr 1101
        +600 in R 201 win 1000 ts 1000
        read 10 = ECONNRESET
        """
    ),
    (
      "timestamps of zero are not held to",
      """
      listen
      in S win 65535 mss 1000 sackok wscale 7 ts 0
      out S ack 1 mss 1460
      +100 in . 1 ack 1 win 1000 ts 4000000000
      accept = 0
      in P 1..101 ack 1 win 1000 ts 4000000001
      out . 1 ack 101 ecr 4000000001
      read 1000 = 100
      """
    ),
    (
      "who closes without reading resets",
      accepted + """
        in P 1..101 ack 1 win 1000
        out . 1 ack 101
        close = 0
        out R 1 ack 101
        """
    ),
    (
      "who lingers for no time resets",
      accepted + """
        set linger 0 = 0
        close = 0
        out R 1 ack 1
        """
    ),
    (
      "data for who has closed is reset",
      accepted + """
        close = 0
        out F 1 ack 1
        +100 in . 1 ack 2 win 1000
        in P 1..101 ack 2 win 1000
        out R 2
        """
    ),
    (
      "a reset ends what is read and written",
      accepted + """
        in P 1..101 ack 1 win 1000
        out . 1 ack 101
        in R 101 win 1000
        write 10 = ECONNRESET
        write 10 = EPIPE
        read 100 = 100
        read 100 = 0
        """
    ),
    (
      "the user's timeout ends what is not acknowledged",
      accepted + """
        set usertimeout 1000 = 0
        write 100 = 100
        out P 1..101 ack 1
        +300 out P 1..101 ack 1
        +300 out P 1..101 ack 1
        +600 out P 1..101 ack 1
        quiet +1200
        read 10 = ETIMEDOUT
        """
    ),
  ]
}
