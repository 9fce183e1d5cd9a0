# SPDX-License-Identifier: GPL-2.0-or-later
# `make demo` shows netforge working, `make test` proves it. Everything that a machine needs is installed by `deps`.

SHELL       := /bin/bash
PREFIX      ?= /usr/local
SWIFT       ?= swift
SUDO        := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
RELEASE     := .build/release/netforge
# Swift's runtime inside: half the time to start, which counts with each program in a node, and no toolchain to run it.
OPTIMIZED   := -c release --static-swift-stdlib
# What the binary needs to be built, and what the tests compare it with.
BUILD_DEBS  := libmnl-dev libnftnl-dev pkg-config
TEST_DEBS   := python3 iproute2 nftables iputils-ping conntrack ncat curl iperf3 tcpdump graphviz procps uidmap util-linux

# What packetdrill is built with, and what its scripts call.
DRILL_DEBS  := gcc make bison flex iproute2 procps ethtool python3
# A virtual machine with Debian's kernel.
GUEST_DEBS  := qemu-system-x86 busybox-static cpio kmod xz-utils

.PHONY: build demo test test-guest packetdrill deps deps-test swift-present install dist bench fuzz lint clean

build: deps swift-present
	$(SWIFT) build $(OPTIMIZED) --product netforge

demo: build
	@scripts/demo $(RELEASE)

test: deps-test swift-present
	$(SWIFT) build --build-tests
	@# Many tests wait for the host's kernel and keep a thread: with all of them begun at once, what others wait for comes late.
	SWT_EXPERIMENTAL_MAXIMUM_PARALLELIZATION_WIDTH=24 $(SWIFT) test --skip-build --skip FaultSweepTests
	@# It compares the host with what it was before, which other tests change: alone.
	$(SWIFT) test --skip-build --filter FaultSweepTests

# The tests of what this host's kernel may lack (VLANs, dummy devices, netem, flowtables) or does otherwise, under Debian's own kernel.
# Without KVM (ACCEL=kvm) the guest is emulated: minutes. FILTER names other tests, GUEST_SUITE=trixie takes a newer kernel, whose netem
# keeps a seed (FILTER=NetemOracle); what else scripts/in-guest knows is said in the same way.
FILTER ?= vlan|RarerDevice|bridgeVLANs|LiveTests|FlowtableOracle|flowtables
test-guest: deps-test swift-present
	@scripts/install-packages "$(SUDO)" required $(GUEST_DEBS)
	$(SWIFT) build --build-tests
	$(SUDO) $(foreach v,ACCEL GUEST_KERNEL GUEST_SUITE KERNEL_ARGS MEMORY,$(if $($v),$v='$($v)')) \
	  scripts/in-guest .build/debug/netforgePackageTests.xctest --testing-library swift-testing --filter '$(FILTER)'

# packetdrill's scripts against the emulated kernel, in virtual time (docs/packetdrill.md). SRC is a checkout of packetdrill,
# SELFTESTS a kernel's own scripts; ONLY names scripts by a pattern, VERBOSE=1 says why each fails.
packetdrill: deps swift-present
	@if [ ! -d "$(SRC)/gtests/net/packetdrill" ]; then \
	  echo "make packetdrill SRC=DIR needs a checkout of packetdrill: git clone https://github.com/google/packetdrill" >&2; \
	  echo "and, for the kernel's own scripts, SELFTESTS=LINUX/tools/testing/selftests/net/packetdrill" >&2; exit 66; fi
	@scripts/install-packages "$(SUDO)" required $(DRILL_DEBS)
	$(SWIFT) build $(OPTIMIZED) --product netforge-packetdrill
	@SRC="$(SRC)" SELFTESTS="$(SELFTESTS)" scripts/packetdrill .build/release/libnetforge-packetdrill.so

swift-present:
	@command -v $(SWIFT) >/dev/null || { \
	  echo "netforge is built with Swift 6.2 or later and none is on PATH; see https://www.swift.org/install" >&2; exit 1; }

# Installs only what is missing, so that a machine that has all of it needs neither root nor a network.
deps:
	@scripts/install-packages "$(SUDO)" required $(BUILD_DEBS)

deps-test: deps
	@scripts/install-packages "$(SUDO)" optional $(TEST_DEBS)

install: build
	install -D -m 755 $(RELEASE) $(DESTDIR)$(PREFIX)/bin/netforge
	install -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions $(DESTDIR)$(PREFIX)/share/zsh/site-functions $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
	$(RELEASE) completion bash > $(DESTDIR)$(PREFIX)/share/bash-completion/completions/netforge
	$(RELEASE) completion zsh > $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_netforge
	$(RELEASE) completion fish > $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/netforge.fish

# One tarball that runs where no toolchain is: the runtime linked in, the two libraries beside the binary.
dist: deps swift-present
	$(SWIFT) build $(OPTIMIZED) --product netforge --scratch-path .build-dist \
	  -Xlinker -rpath -Xlinker '$$ORIGIN/../lib'
	scripts/make-dist .build-dist/release/netforge dist

bench: build deps-test
	Benchmarks/run $(RELEASE)
	$(SWIFT) build $(OPTIMIZED) --product netstack-bench
	.build/release/netstack-bench
	Benchmarks/Peers/run
	$(SWIFT) build $(OPTIMIZED) --product emulated-bench
	@for n in 1000 10000; do $(RELEASE) render Benchmarks/bridges.swift --var nodes=$$n > .build/bridges-$$n.json || exit 1; done
	.build/release/emulated-bench .build/bridges-1000.json .build/bridges-10000.json
	$(RELEASE) render Benchmarks/pairs.swift > .build/pairs.json
	.build/release/emulated-bench --cpus .build/pairs.json

# Every parser under seeded damage: frames and requests, netlink answers, JSON, lab folders, control messages, command
# lines. ROUNDS counts those of the packet path; the others are lengthened as much. The code is optimised, or a million
# rounds would take an hour; its assertions stay, since they are what finds a read beyond a packet's end.
FUZZED := -c release --scratch-path .build-fuzz -Xswiftc -enable-testing -Xswiftc -assert-config -Xswiftc Debug
fuzz: swift-present deps
	$(SWIFT) build --build-tests $(FUZZED)
	NETFORGE_FUZZ_ROUNDS=$${ROUNDS:-1000000} $(SWIFT) test --skip-build $(FUZZED) \
	  --filter '[Hh]ostile|[Ff]uzz|noise|mutation|truncation'

lint: swift-present
	$(SWIFT) format lint --strict --recursive --parallel Sources Tests topologies Package.swift

clean:
	rm -rf .build .build-* dist
