// SPDX-License-Identifier: GPL-2.0-or-later

// Random labs: a plan that is carried out leads to what was desired, from wherever it began.

import LabCore
import NetTypes
import Reconcile
import Testing

@Suite("Planner on random labs")
struct PlannerPropertyTests {
  static func observe(_ kernel: ModelKernel, for desired: LabState) -> Observation {
    kernel.observation(of: desired.lab, scope: Scope(covering: [desired]), unmarked: [], foreign: [])
  }

  /// Carries out the plan to `desired` and returns what it still lacks.
  static func reach(_ desired: LabState, _ kernel: inout ModelKernel) -> (
    plan: Plan, refusal: String?, rest: Plan
  ) {
    let plan = Planner().plan(desired, from: observe(kernel, for: desired))
    var refusal: String?
    for change in plan.changes where refusal == nil {
      do throws(ModelRefusal) {
        try kernel.apply(change)
      } catch {
        refusal = "\(change.operation) \(change.path): \(error.cause)"
      }
    }
    return (plan, refusal, Planner().plan(desired, from: observe(kernel, for: desired)))
  }

  @Test("From any state a plan leads to any other, in one go", arguments: 0..<150 as Range<UInt64>)
  func anyToAny(seed: UInt64) {
    var draw = RandomLab(seed: seed)
    var kernel = ModelKernel()
    for step in 0..<4 {
      let desired = draw.draw()
      let (plan, refusal, rest) = Self.reach(desired, &kernel)
      #expect(refusal == nil, "seed \(seed), step \(step):\n\(plan.text(verbose: true))")
      #expect(rest.isEmpty, "seed \(seed), step \(step):\n\(plan.text(verbose: true))\nleft:\n\(rest.text())")
      guard refusal == nil, rest.isEmpty else { return }
    }
  }

  @Test("What was damaged by hand is mended", arguments: 0..<80 as Range<UInt64>)
  func drift(seed: UInt64) {
    var draw = RandomLab(seed: seed &+ 1000)
    var kernel = ModelKernel()
    let desired = draw.draw()
    _ = Self.reach(desired, &kernel)
    draw.damage(&kernel)
    let (plan, refusal, rest) = Self.reach(desired, &kernel)
    #expect(refusal == nil, "seed \(seed):\n\(plan.text(verbose: true))")
    #expect(rest.isEmpty, "seed \(seed):\n\(plan.text(verbose: true))\nleft:\n\(rest.text())")
  }

  @Test("The same input gives the same plan", arguments: 0..<20 as Range<UInt64>)
  func deterministic(seed: UInt64) {
    var draw = RandomLab(seed: seed)
    var kernel = ModelKernel()
    _ = Self.reach(draw.draw(), &kernel)
    let next = draw.draw()
    let first = Planner().plan(next, from: Self.observe(kernel, for: next))
    for _ in 0..<5 { #expect(Planner().plan(next, from: Self.observe(kernel, for: next)) == first) }
  }
}
