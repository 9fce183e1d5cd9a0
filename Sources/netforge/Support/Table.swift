// SPDX-License-Identifier: GPL-2.0-or-later

/// Rows under a heading, in columns as wide as their widest cell.
struct Table {
  var heading: [String]
  var rows: [[String]] = []

  init(_ heading: String...) { self.heading = heading }

  mutating func add(_ cells: String...) { rows.append(cells) }

  var text: String {
    let all = [heading] + rows
    let widths = heading.indices.map { column in all.map { $0[column].count }.max() ?? 0 }
    return all.map { row in
      var line = ""
      for (column, cell) in row.enumerated() {
        line += cell
        if column < row.count - 1 { line += String(repeating: " ", count: widths[column] - cell.count + 2) }
      }
      while line.last == " " { line.removeLast() }
      return line
    }.joined(separator: "\n")
  }
}
