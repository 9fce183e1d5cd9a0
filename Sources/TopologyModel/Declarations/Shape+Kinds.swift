// SPDX-License-Identifier: GPL-2.0-or-later

// Every kind of declaration, its keys in the order in which rendered JSON has them.

extension Shape {
  /// A declaration of rendered JSON.
  static let declaration = Shape.kinds(topLevel)
  /// A declaration as a program writes it: with what it read, and what it found wrong itself.
  static let written = Shape.kinds(
    topLevel + [
      Kind("read", [Field("path", .text, required: true)]),
      Kind("variable", [Field("name", .text, required: true)]),
      Kind("failure", [Field("message", .text, required: true)]),
    ])

  static let topLevel: [Kind] = [
    Kind("topology", [Field("name", .text, required: true)]),
    Kind(
      "bridge",
      [Field("name", .text, required: true), Field("subnets", .list(.text))] + bridgeOptions
        + [Field("mtu", .integer), Field("labels", .labels)]),
    Kind("node", nodeFields),
    Kind("router", nodeFields),
    Kind(
      "internet",
      [Field("name", .text, required: true), Field("via", .text, required: true), Field("subnet", .text)]),
    Kind(
      "link",
      [Field("a", interface, required: true), Field("b", interface, required: true), Field("mtu", .integer)]),
    Kind(
      "impairment",
      [Field("interface", interface, required: true), Field("impairment", impairment, required: true)]),
    Kind(
      "expectation",
      [
        Field("what", .text, required: true), Field("source", place), Field("target", place),
        Field("as", .text), Field("probe", probe), Field("withinNanoseconds", .integer),
        Field("ttl", .integer), Field("because", .text), Field("hops", .list(place)), Field("mtu", .integer),
        Field("minimum", .number), Field("maximum", .number), Field("durationNanoseconds", .integer),
        Field("count", .integer), Field("sourcePort", .integer), Field("node", .text), Field("bridge", .text),
        Field("reason", .text),
        Field("destination", .text), Field("via", .text), Field("interface", .text), Field("mac", .text),
        Field("state", .text), Field("port", interface), Field("rule", .text), Field("command", .list(.text)),
        Field("exitCode", .integer), Field("output", .text), Field("groups", .list(.list(.text))),
        Field("scenario", .text), Field("name", .text), Field("tags", .list(.text)), Field("level", .text),
        Field("eventuallyNanoseconds", .integer), Field("atNanoseconds", .integer),
      ]),
    Kind("event", [Field("atNanoseconds", .integer, required: true), actions]),
    Kind("scenario", [name, actions]),
  ]

  private static let nodeFields = [
    Field("name", .text, required: true), Field("labels", .labels), Field("body", .list(.kinds(body))),
  ]

  private static let interface = Shape.object([
    Field("node", .text, required: true), Field("interface", .text, required: true),
  ])

  private static let actions = Field(
    "actions",
    .list(
      .object([
        Field("action", .text, required: true), Field("interface", interface),
        Field("impairment", impairment),
        Field("durationNanoseconds", .integer), Field("node", .text), Field("command", .list(.text)),
        Field("address", .text), Field("destination", .text), Field("via", .text), Field("on", .text),
      ])))

  private static let probe = Shape.object([
    Field("transport", .text, required: true), Field("port", .integer, required: true), Field("path", .text),
    Field("status", .integer), Field("body", .text),
  ])

  private static let place = Shape.object([
    Field("node", .text), Field("interface", .text), Field("address", .text),
  ])

  private static let impairment = Shape.object([
    Field("rateBitsPerSecond", .number), Field("delayNanoseconds", .integer),
    Field("jitterNanoseconds", .integer),
    Field("lossPercent", .number), Field("duplicatePercent", .number), Field("reorderPercent", .number),
    Field("corruptPercent", .number), Field("limit", .integer), Field("seed", .unsigned),
  ])

  private static let bridgeOptions = [
    Field("stp", .flag), Field("ageingNanoseconds", .integer), Field("vlanFiltering", .flag),
    Field("multicastSnooping", .flag), Field("priority", .integer),
  ]

  private static let port = Shape.object([
    Field("access", .integer), Field("trunk", .list(.integer)), Field("native", .integer),
    Field("isolated", .flag),
    Field("hairpin", .flag), Field("learning", .flag),
  ])

  private static let located = [
    Field("file", .text, required: true), Field("line", .integer, required: true),
  ]
  private static let addresses = Field("addresses", .list(.text))
  private static let deviceFields = [
    addresses, Field("mac", .text), Field("mtu", .integer), Field("up", .flag),
  ]
  private static let name = Field("name", .text, required: true)

  /// The items of a node's body.
  static let body: [Kind] = [
    Kind(
      "interface",
      [name, Field("on", .text)] + deviceFields + [Field("port", port), Field("impairment", impairment)]),
    Kind("loopback", [addresses]),
    Kind(
      "bridge",
      [name] + deviceFields
        + [Field("ports", .list(.object([name, Field("port", port)] + located)))] + bridgeOptions),
    Kind(
      "vlan",
      [name, Field("on", .text, required: true), Field("id", .integer, required: true)] + deviceFields),
    Kind("dummy", [name] + deviceFields),
    Kind("tap", [name] + deviceFields + tunTap),
    Kind("tun", [name] + deviceFields + tunTap),
    Kind(
      "vxlan",
      [
        name, Field("id", .integer, required: true), Field("remote", .text), Field("local", .text),
        Field("on", .text),
        Field("port", .integer), Field("learning", .flag), Field("ttl", .integer),
      ] + deviceFields),
    Kind("macvlan", [name, Field("on", .text, required: true), Field("mode", .text)] + deviceFields),
    Kind(
      "uplink",
      [
        name,
        Field(
          "way",
          .object([
            Field("via", .text, required: true), Field("host", .text), Field("hostAddresses", .list(.text)),
            Field("mode", .text),
          ]), required: true),
      ] + deviceFields),
    Kind(
      "address",
      [Field("address", .text, required: true), Field("on", .text, required: true), Field("peer", .text)]),
    Kind(
      "route",
      [
        Field("destination", .text, required: true), Field("type", .text),
        Field(
          "via",
          .list(
            .object([
              Field("address", .text), Field("node", .text), Field("interface", .text),
              Field("internet", .text),
              Field("on", .text), Field("weight", .integer), Field("onLink", .flag),
            ]))),
        Field("metric", .integer), Field("table", .integer), Field("source", .text), Field("mtu", .integer),
      ]),
    Kind(
      "policyRule",
      [
        Field("table", .integer), Field("action", .text), Field("priority", .integer), Field("source", .text),
        Field("destination", .text), Field("from", .text), Field("to", .text), Field("mark", .integer),
        Field("mask", .integer),
      ]),
    Kind(
      "neighbor",
      [Field("address", .text, required: true), Field("mac", .text), Field("on", .text, required: true)]),
    Kind(
      "fdbEntry",
      [
        Field("mac", .text, required: true), Field("on", .text, required: true), Field("vlan", .integer),
        Field("remote", .text),
      ]),
    Kind("sysctl", [name, Field("value", .text, required: true)]),
    Kind("masquerade", [Field("out", .text), Field("source", .list(.text)), Field("flags", .list(.text))]),
    Kind(
      "sourceNAT",
      [
        Field("to", .text, required: true), Field("ports", .text), Field("out", .text),
        Field("source", .list(.text)), Field("flags", .list(.text)),
      ]),
    Kind(
      "publish",
      transportPorts + [
        Field("on", .text), Field("address", .text), Field("hosts", .list(.text)), Field("port", .integer),
      ]),
    Kind(
      "hostPort",
      [Field("hostPort", .integer, required: true), Field("port", .integer, required: true)]),
    Kind("redirect", transportPorts + [Field("on", .text), Field("port", .integer, required: true)]),
    Kind(
      "firewall",
      [
        Field("policy", .text, required: true), Field("hook", .text),
        Field("sets", .list(.object([name, Field("elements", .list(.text))] + located))),
        Field("rules", .list(.object(firewallRule))),
      ]),
    Kind(
      "table",
      [
        name, Field("family", .text, required: true), Field("sets", .list(.object(elementSet))),
        Field("objects", .list(.kinds(objects))), Field("chains", .list(.object(chain))),
      ]),
    Kind("ruleset", [Field("path", .text, required: true), Field("json", .text), Field("failure", .text)]),
    Kind("service", [Field("service", .text, required: true), Field("port", .integer, required: true)]),
    Kind("run", [Field("command", .list(.text)), Field("restart", .text)]),
    Kind("exec", [Field("command", .list(.text))]),
    Kind("file", [Field("path", .text, required: true), Field("text", .text, required: true)]),
    Kind("env", [name, Field("value", .text, required: true)]),
  ]

  private static let tunTap = [
    Field("owner", .integer), Field("group", .integer), Field("multiQueue", .flag),
  ]
  private static let transportPorts = [
    Field("transport", .text, required: true), Field("ports", .text, required: true),
  ]

  private static let firewallRule =
    [
      Field("action", .text, required: true), Field("with", .text), Field("matches", .list(.text)),
      Field("from", .text), Field("to", .text), Field("source", .list(.text)), Field("sourceSet", .text),
      Field("destination", .list(.text)), Field("destinationSet", .text), Field("log", .text),
    ] + located

  private static let element = [
    Field("key", .list(.text)), Field("data", .list(.text)), Field("verdict", .text),
  ]

  private static let namedElement =
    element + [Field("timeoutNanoseconds", .integer), Field("comment", .text)]

  private static let elementSet =
    [
      name, Field("key", .list(.text), required: true), Field("data", .list(.text)), Field("verdicts", .flag),
      Field("object", .text), Field("interval", .flag), Field("dynamic", .flag), Field("counters", .flag),
      Field("timeoutNanoseconds", .integer), Field("size", .integer), Field("comment", .text),
      Field("elements", .list(.object(namedElement))),
    ] + located

  private static let chain =
    [
      name, Field("type", .text), Field("hook", .text), Field("priority", .integer), Field("policy", .text),
      Field("device", .text),
      Field(
        "rules",
        .list(.object([Field("statements", .list(.kinds(statements))), Field("comment", .text)] + located))),
    ] + located

  /// The statements that an element of a set can keep for itself, too.
  private static let stateful: [Kind] = [
    statement("counter", [Field("name", .text)]),
    statement(
      "limit",
      [
        Field("count", .integer, required: true), Field("per", .text, required: true),
        Field("burst", .integer),
        Field("bytes", .flag), Field("over", .flag),
      ]),
    statement("quota", [Field("count", .integer, required: true), Field("over", .flag)]),
    statement("connectionLimit", [Field("count", .integer, required: true), Field("over", .flag)]),
  ]

  /// The statements of a rule in the general form. They have the line of their rule.
  static let statements: [Kind] = comparisons + stateful + effects

  private static let comparisons: [Kind] = [
    statement(
      "match",
      [
        Field("selectors", .list(.text), required: true), Field("is", .text, required: true),
        Field("values", .list(.list(.text))), Field("exactly", .list(.text)), Field("mask", .list(.text)),
        Field("set", .text),
      ]),
    statement("verdict", [Field("verdict", .text, required: true)]),
    statement(
      "verdictMap",
      [
        Field("selectors", .list(.text), required: true), Field("elements", .list(.object(element))),
        Field("map", .text),
      ]),
  ]

  private static let effects: [Kind] = [
    statement("log", [Field("prefix", .text), Field("level", .integer), Field("group", .integer)]),
    statement("reject", [Field("with", .text)]),
    statement(
      "setMark",
      [
        Field("mark", .text, required: true), Field("value", .integer), Field("mask", .integer),
        Field("selectors", .list(.text)), Field("map", .text),
      ]),
    statement(
      "setField",
      [
        Field("selector", .text, required: true), Field("value", .text), Field("values", .list(.text)),
        Field("from", .text),
      ]),
    statement("object", [Field("object", .text, required: true), name]),
    statement(
      "objectMap",
      [
        Field("object", .text, required: true), Field("selectors", .list(.text), required: true),
        Field("elements", .list(.object(element))), Field("map", .text),
      ]),
    statement("duplicate", [Field("address", .text), Field("device", .text)]),
    statement("sendBy", [Field("device", .text, required: true), Field("address", .text)]),
    statement("transparentProxy", [Field("address", .text), Field("port", .integer)]),
    statement(
      "synProxy",
      [
        Field("maximumSegmentSize", .integer), Field("windowScale", .integer), Field("timestamps", .flag),
        Field("selectiveAcknowledgments", .flag),
      ]),
    statement("trace", []),
    statement("copyMark", [Field("from", .text, required: true), Field("to", .text, required: true)]),
    statement("noTrack", []),
    statement(
      "updateSet",
      [
        Field("set", .text, required: true), Field("operation", .text),
        Field("selectors", .list(.text), required: true), Field("data", .list(.text)),
        Field("dataSelectors", .list(.text)), Field("timeoutNanoseconds", .integer),
        Field("statements", .list(.kinds(stateful))),
      ]),
    statement("masquerade", [Field("ports", .text), Field("flags", .list(.text))]),
    statement(
      "sourceNAT",
      [Field("address", .text, required: true), Field("ports", .text), Field("flags", .list(.text))]),
    statement(
      "destinationNAT",
      [
        Field("address", .text), Field("spread", .list(.text)), Field("random", .flag),
        Field("selectors", .list(.text)),
        Field("map", .text), Field("ports", .text), Field("flags", .list(.text)),
      ]),
    statement("redirect", [Field("ports", .text), Field("flags", .list(.text))]),
  ]

  /// Named objects of a table.
  static let objects: [Kind] = [
    statement(
      "limit",
      [
        name, Field("count", .integer, required: true), Field("per", .text, required: true),
        Field("burst", .integer), Field("bytes", .flag), Field("over", .flag),
      ] + located),
    statement("quota", [name, Field("count", .integer, required: true), Field("over", .flag)] + located),
    statement(
      "helper",
      [name, Field("helper", .text, required: true), Field("transport", .text, required: true)] + located),
    statement(
      "expectation",
      [
        name, Field("transport", .text, required: true), Field("port", .integer, required: true),
        Field("timeoutNanoseconds", .integer, required: true), Field("count", .integer, required: true),
      ] + located),
    statement(
      "synProxy",
      [
        name, Field("maximumSegmentSize", .integer, required: true),
        Field("windowScale", .integer, required: true), Field("timestamps", .flag),
        Field("selectiveAcknowledgments", .flag),
      ] + located),
    statement(
      "flowtable",
      [
        name, Field("devices", .list(.text), required: true), Field("priority", .integer),
        Field("counter", .flag),
      ] + located),
    statement(
      "timeouts",
      [
        name, Field("transport", .text, required: true),
        Field(
          "states",
          .list(
            .object([
              Field("state", .text, required: true), Field("timeNanoseconds", .integer, required: true),
            ]))),
      ] + located),
  ]

  private static func statement(_ name: String, _ fields: [Field]) -> Kind {
    var kind = Kind(name, [])
    kind.fields = fields
    return kind
  }
}
