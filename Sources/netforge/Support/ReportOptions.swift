// SPDX-License-Identifier: GPL-2.0-or-later

import ArgumentParser
import FoundationEssentials
import LabCore
import Reconcile
import TopologyModel

/// Where a test's reports go, beside what is printed.
struct ReportOptions: ParsableArguments {
  @Option(help: ArgumentHelp("Write the JSON document to this file, too.", valueName: "file"))
  var json: String?

  @Option(help: ArgumentHelp("Write JUnit's XML.", valueName: "file"))
  var junit: String?

  @Option(help: ArgumentHelp("Write TAP, version 14.", valueName: "file"))
  var tap: String?

  @Option(help: ArgumentHelp("Write a page with the topology drawn, complete in itself.", valueName: "file"))
  var html: String?

  func write(_ reports: [TestReport], _ topology: Topology) throws {
    if let json { try write(JSONText.of(TestDocument(topology: topology.name, reports)) + "\n", to: json) }
    if let junit { try write(JUnitReport(topology: topology.name, reports).xml, to: junit) }
    if let tap { try write(TAPReport(reports).text, to: tap) }
    if let html {
      let diagram = Diagram(of: topology)
      // Without Graphviz the page has the drawing's source in its place.
      let drawing = (try? Graph.svg(of: diagram.dot)).map { HTMLReport.Drawing.svg($0) } ?? .text(diagram.dot)
      try write(HTMLReport(topology.name, reports, drawing).page, to: html)
    }
  }

  private func write(_ text: String, to path: String) throws {
    guard path != "-" else { return Terminal.print(text) }
    do { try Data(text.utf8).write(to: URL(filePath: path)) } catch {
      throw Failure(.failed, "cannot write '\(path)': \(error)")
    }
  }
}
