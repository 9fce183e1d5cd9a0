// SPDX-License-Identifier: GPL-2.0-or-later

// What gVisor's netstack makes of the same as `netstack-bench tcp`: two stacks in one process, a pipe of Ethernet frames
// between them, MTU 1500. Prints one line a figure: name and number.
//
//	GO111MODULE=off GOPATH=/usr/share/gocode go run gvisor.go     (needs golang-go, golang-gvisor-gvisor-dev)
package main

import (
	"fmt"
	"io"
	"log"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/ethernet"
	"gvisor.dev/gvisor/pkg/tcpip/link/pipe"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

func host(end stack.LinkEndpoint, address string) *stack.Stack {
	s := stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, arp.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol},
	})
	if err := s.CreateNIC(1, ethernet.New(end)); err != nil {
		log.Fatal(err)
	}
	own := tcpip.ProtocolAddress{
		Protocol: ipv4.ProtocolNumber, AddressWithPrefix: tcpip.AddressWithPrefix{Address: tcpip.Address(address), PrefixLen: 24},
	}
	if err := s.AddProtocolAddress(1, own, stack.AddressProperties{}); err != nil {
		log.Fatal(err)
	}
	s.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: 1}})
	sack := tcpip.TCPSACKEnabled(true)
	s.SetTransportProtocolOption(tcp.ProtocolNumber, &sack)
	return s
}

const here, there = "\x0a\x00\x00\x01", "\x0a\x00\x00\x02"

func serve(s *stack.Stack, port uint16, each func(*gonet.TCPConn)) {
	listener, err := gonet.ListenTCP(s, tcpip.FullAddress{NIC: 1, Port: port}, ipv4.ProtocolNumber)
	if err != nil {
		log.Fatal(err)
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go each(conn.(*gonet.TCPConn))
	}
}

func dial(s *stack.Stack, port uint16) *gonet.TCPConn {
	conn, err := gonet.DialTCP(s, tcpip.FullAddress{NIC: 1, Addr: there, Port: port}, ipv4.ProtocolNumber)
	if err != nil {
		log.Fatal(err)
	}
	return conn
}

func main() {
	// MTU 1500 and the Ethernet header.
	left, right := pipe.New("\x02\x00\x00\x00\x00\x01", "\x02\x00\x00\x00\x00\x02", 1514)
	a, b := host(left, here), host(right, there)
	received := make(chan int64)
	go serve(b, 1, func(conn *gonet.TCPConn) {
		count, _ := io.Copy(io.Discard, conn)
		conn.Close()
		received <- count
	})
	go serve(b, 2, func(conn *gonet.TCPConn) { io.Copy(conn, conn) })
	time.Sleep(100 * time.Millisecond)

	conn := dial(a, 1)
	block := make([]byte, 1<<16)
	start := time.Now()
	for time.Since(start) < 3*time.Second {
		if _, err := conn.Write(block); err != nil {
			log.Fatal(err)
		}
	}
	conn.CloseWrite()
	fmt.Printf("gigabits %.2f\n", float64(<-received)*8/time.Since(start).Seconds()/1e9)

	conn = dial(a, 2)
	start = time.Now()
	rounds := 0
	for ; time.Since(start) < 2*time.Second; rounds++ {
		if _, err := conn.Write(block[:1]); err != nil {
			log.Fatal(err)
		}
		if _, err := io.ReadFull(conn, block[:1]); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Printf("rounds %.0f\n", float64(rounds)/time.Since(start).Seconds())

	start = time.Now()
	count := 0
	for ; time.Since(start) < 2*time.Second; count++ {
		one := dial(a, 1)
		one.Close()
		<-received
	}
	fmt.Printf("connections %.0f\n", float64(count)/time.Since(start).Seconds())
}
