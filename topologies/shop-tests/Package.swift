// swift-tools-version: 6.2
// SPDX-License-Identifier: GPL-2.0-or-later

// Tests of a network with Swift Testing: `swift test` in this folder brings `../shop.swift` up in the tests' own process.

import PackageDescription

let package = Package(
  name: "shop-tests",
  dependencies: [
    // Yours says .package(url: …, from: …).
    .package(name: "netforge", path: "../..")
  ],
  targets: [
    .testTarget(name: "ShopTests", dependencies: [.product(name: "NetforgeTesting", package: "netforge")])
  ]
)
