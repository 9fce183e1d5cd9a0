// SPDX-License-Identifier: GPL-2.0-or-later

// Values that a test writes down and that are known to be well-formed.

/// The value; a mistake in the test itself when there is none.
func known<Value>(_ value: Value?, line: UInt = #line) -> Value {
  guard let value else { preconditionFailure("a test's own literal is wrong, line \(line)") }
  return value
}
