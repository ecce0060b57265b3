package main

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// startEtcd starts three etcd members with their default settings, or returns nil if
// there is no etcd to start.
func (b *bench) startEtcd() (cluster, error) {
	bin, err := exec.LookPath(b.etcd)
	if err != nil {
		return nil, nil
	}
	var c cluster
	var members, peers []string
	for i := range 3 {
		addrs, err := freeAddrs(2)
		if err != nil {
			return nil, err
		}
		m := &node{id: fmt.Sprintf("etcd%d", i+1), tcp: addrs[0]}
		m.data = b.path(m.id)
		c = append(c, m)
		peers = append(peers, "http://"+addrs[1])
		members = append(members, m.id+"="+peers[i])
	}
	for i, m := range c {
		m.process = b.newProcess(m.id, bin,
			"--name="+m.id, "--data-dir="+m.data,
			"--listen-client-urls=http://"+m.tcp, "--advertise-client-urls=http://"+m.tcp,
			"--listen-peer-urls="+peers[i], "--initial-advertise-peer-urls="+peers[i],
			"--initial-cluster="+strings.Join(members, ","))
		if err := m.start(); err != nil {
			return nil, err
		}
	}
	for _, m := range c {
		err := eventually(m.id+" answers", func() error {
			if err := m.alive(); err != nil {
				return err
			}
			return wantOK(get(m.tcp, "/health"))
		})
		if err != nil {
			return nil, err
		}
	}
	return c, nil
}

// A putting measures keys put per second into etcd, each the size of a registration,
// by as many clients as there are nsqds, with one key in flight each. They speak
// gRPC, which etcd itself speaks, rather than JSON, which it has to translate.
type putting struct {
	*bench
	nodes cluster
	conns int // connections, spread over the members, which the clients share evenly

	turn int           // each has keys of its own
	cpu  time.Duration // of all members
}

func (p *putting) each() time.Duration { return p.cpu / time.Duration(p.turn*p.nsqds*p.channels) }

func (p *putting) measure() (float64, error) {
	p.turn++
	ctx, cancel := context.WithTimeout(context.Background(), 5*readyTimeout)
	defer cancel()
	members := make([]pb.KVClient, p.conns)
	for i := range members {
		conn, err := grpc.NewClient(p.nodes[i%len(p.nodes)].tcp, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return 0, err
		}
		defer conn.Close()
		members[i] = pb.NewKVClient(conn)
	}
	err := each(p.conns, 16, func(i int) error { // connect
		_, err := members[i].Range(ctx, &pb.RangeRequest{Key: []byte("none"), Serializable: true})
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("etcd: %w", err)
	}
	before, err := usages(p.nodes)
	if err != nil {
		return 0, err
	}
	value := []byte(`{"tcp_port":4150,"http_port":4151}`)
	begun := time.Now()
	err = each(p.nsqds, p.nsqds, func(i int) error {
		for channel := range p.channels {
			key := fmt.Sprintf("topic-%d-%d-%d/channel-%d/nsqd-%05d.example.net", p.conns, p.turn, channel/10, channel%10, i)
			if _, err := members[i%p.conns].Put(ctx, &pb.PutRequest{Key: []byte(key), Value: value}); err != nil {
				return err
			}
		}
		return nil
	})
	took := time.Since(begun)
	if err != nil {
		return 0, fmt.Errorf("etcd: %w", err)
	}
	after, err := usages(p.nodes)
	for k := range after {
		p.cpu += after[k].since(before[k]).cpu
	}
	return perSecond(p.nsqds*p.channels, took), err
}
