// SPDX-License-Identifier: GPL-2.0-or-later

// The language's JSON writer.

import Testing

@testable import Netforge

@Suite("A record")
struct RecordTests {
  @Test("leaves out what is absent and keeps the order of what is there")
  func order() {
    var record = Record("bridge")
    record.add("name", "lan")
    record.add("mtu", Int?.none)
    record.add("subnets", ["10.0.0.0/24"])
    record.add("labels", ["b": "2", "a": "1"])
    record.add("stp", true)
    record.add("ageing", .milliseconds(1500))
    #expect(
      record.json
        == #"{"kind":"bridge","name":"lan","subnets":["10.0.0.0/24"],"labels":{"a":"1","b":"2"},"stp":true,"ageing":1500000000}"#
    )
  }

  @Test("quotes what JSON does not take as it is")
  func quoting() {
    #expect(Record.quoted("a\"b\\c\n\t\r\u{1}ä") == "\"a\\\"b\\\\c\\n\\t\\r\\u0001ä\"")
  }

  @Test(
    "writes numbers as JSON has them",
    arguments: [
      (100_000_000.0, "100000000"), (0.5, "0.5"), (-1, "-1"), (.infinity, "\"inf\""), (.nan, "\"nan\""),
    ])
  func numbers(value: Double, expected: String) {
    var record = Record()
    record.add("n", value)
    #expect(record.json == "{\"n\":\(expected)}")
  }

  @Test("takes times that are too long for the longest that there is")
  func times() {
    #expect(Duration.seconds(Int64.max).nanoseconds == .max)
    #expect(Duration.seconds(Int64.min).nanoseconds == .min)
    #expect(Duration.milliseconds(-20).nanoseconds == -20_000_000)
  }

  @Test("knows a file by its name without the module")
  func names() {
    #expect(Record.name(of: "topology/shop.swift") == "shop.swift")
    #expect(Record.name(of: "shop.swift") == "shop.swift")
  }
}
