package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	messageSize = 200
	batchSize   = 200 // messages of an MPUB
	readyCount  = 2500

	// inMemory keeps all that a turn can publish in memory, onDisk nothing.
	inMemory = "--mem-queue-size=3000000"
	onDisk   = "--mem-queue-size=0"

	// notWorse is the goal where ours has only to keep up, and what turns differ by.
	notWorse = 1.1
)

// A daemon is one nsqd, ours or stock.
type daemon struct {
	*process
	tcp, http string
	data      string
}

// A side is whose nsqd takes its turn.
type side struct {
	name, bin string
}

// sides are ours and stock's.
func (b *bench) sides() [2]side {
	return [2]side{{"our-nsqd", b.nsqdBinary}, {"stock-nsqd", b.stockNSQD}}
}

// buildNSQDs makes the nsqds, unless they were given, and stock's two benchmarks.
func (b *bench) buildNSQDs() error {
	if b.nsqdBinary == "" {
		b.nsqdBinary = filepath.Join(b.temp, "nsqd")
		if err := goBuild("..", b.nsqdBinary, "./cmd/nsqd"); err != nil {
			return fmt.Errorf("build our nsqd: %w", err)
		}
	}
	if b.stockNSQD == "" {
		b.stockNSQD = filepath.Join(b.temp, "stock-nsqd")
		if err := goBuild(".", b.stockNSQD, "github.com/nsqio/nsq/apps/nsqd"); err != nil {
			return fmt.Errorf("build stock nsqd: %w", err)
		}
	}
	for _, name := range []string{"bench_writer", "bench_reader"} {
		if err := goBuild(".", filepath.Join(b.temp, name), "github.com/nsqio/nsq/bench/"+name); err != nil {
			return fmt.Errorf("build stock's %s: %w", name, err)
		}
	}
	return nil
}

// startNSQD starts an nsqd over its own data, or over given data.
func (b *bench) startNSQD(s side, data string, flags ...string) (*daemon, error) {
	addrs, err := freeAddrs(2)
	if err != nil {
		return nil, err
	}
	d := &daemon{tcp: addrs[0], http: addrs[1], data: data}
	if data == "" {
		d.data = b.path(s.name + "-data")
		if err := os.Mkdir(d.data, 0o755); err != nil {
			return nil, err
		}
	}
	d.process = b.newProcess(s.name, s.bin, append([]string{
		"--tcp-address=" + d.tcp, "--http-address=" + d.http, "--broadcast-address=127.0.0.1", "--data-path=" + d.data}, flags...)...)
	if err := d.start(); err != nil {
		return nil, err
	}
	return d, eventually(s.name+" answers", func() error {
		if err := d.alive(); err != nil {
			return err
		}
		return wantOK(get(d.http, "/ping"))
	})
}

// end kills the nsqd and forgets its data: a turn is over.
func (d *daemon) end() {
	d.kill()
	os.RemoveAll(d.data)
}

// topic creates a topic with so many channels, c0 and on.
func (d *daemon) topic(name string, channels int) error {
	targets := []string{"/topic/create?topic=" + name}
	for i := range channels {
		targets = append(targets, fmt.Sprintf("/channel/create?topic=%s&channel=c%d", name, i))
	}
	for _, target := range targets {
		resp, err := client.Post("http://"+d.http+target, "", nil)
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode != 200 {
			return fmt.Errorf("%s: %s", target, resp.Status)
		}
	}
	return nil
}

// A duel is one row: a number of ours beside stock's.
type duel struct {
	what    string
	goal    float64 // of the ratio; 0: none
	smaller bool    // the smaller number is the better one
	show    func(rates) string
	turns   int // 0: as for the group
	measure func(side) (float64, error)
	note    string
}

// duel has ours and stock take turns, each with a fresh nsqd, and adds the row.
func (b *bench) duel(d duel) error {
	turns := d.turns
	if turns == 0 {
		turns = min(b.turns, 3)
	}
	var measured [2]rates
	for turn := range turns {
		for i, s := range b.sides() {
			if turn%2 == 1 { // neither is always the first
				i = 1 - i
				s = b.sides()[i]
			}
			rate, err := d.measure(s)
			if err != nil {
				return fmt.Errorf("%s: %s: %w", d.what, s.name, err)
			}
			measured[i] = append(measured[i], rate)
		}
	}
	show := d.show
	if show == nil {
		show = rates.String
	}
	ratio := measured[0].over(measured[1])
	r := row{Group: "nsqd", What: d.what, Ours: show(measured[0]), Peer: "stock " + show(measured[1]), Ratio: ratio.ratioText(), Note: d.note}
	switch {
	case d.goal == 0:
	case d.smaller:
		r.Goal, r.Verdict = fmt.Sprintf("≤ %g", d.goal), verdict(ratio.median() <= d.goal)
	default:
		r.Goal, r.Verdict = fmt.Sprintf("≥ %g", d.goal), verdict(ratio.median() >= d.goal)
	}
	b.report.add(r)
	return nil
}

// queues are the two ways to keep messages, with the goal for each.
var queues = []struct {
	name, flag string
	goal       float64
}{{"memory", inMemory, 2}, {"disk", onDisk, 4}}

// measureNSQD measures our nsqd beside stock's: every turn on fresh daemons.
func measureNSQD(b *bench) error {
	if err := b.buildNSQDs(); err != nil {
		return err
	}
	var errs []error
	for _, rows := range []func() error{b.publishing, b.consuming, b.passing, b.latencies, b.syncing, b.queued, b.idling} {
		errs = append(errs, rows())
		b.killAll()
	}
	return errors.Join(errs...)
}

// publishing: MPUB by stock's bench_writer, PUB by clients of ours.
func (b *bench) publishing() error {
	for _, q := range queues {
		for _, producers := range []int{1, 8} {
			err := b.duel(duel{
				what: fmt.Sprintf("MPUB 200 × 200 B, %s, %d producers, 1 channel", q.name, producers), goal: q.goal,
				measure: func(s side) (float64, error) {
					d, err := b.startWithTopic(s, 1, q.flag)
					if err != nil {
						return 0, err
					}
					defer d.end()
					return b.stockBench("bench_writer", producers, "-topic=t", "-nsqd-tcp-address="+d.tcp, "-runfor="+(b.window/2).String())
				},
			})
			if err != nil {
				return err
			}
			err = b.duel(duel{
				what: fmt.Sprintf("PUB 200 B, %s, %d producers, 1 channel", q.name, producers), goal: q.goal,
				measure: func(s side) (float64, error) {
					d, err := b.startWithTopic(s, 1, q.flag)
					if err != nil {
						return 0, err
					}
					defer d.end()
					n, took, err := publish(d.tcp, producers, withBody("PUB t", make([]byte, messageSize)), b.window)
					return perSecond(n, took), err
				},
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// consuming: stock's bench_reader empties channels that were filled before.
func (b *bench) consuming() error {
	during := b.window * 3 / 10
	for _, q := range queues {
		// More than can be read in the time; stock's take long to fill from the disk.
		messages := map[string]int{"our-nsqd": 800_000, "stock-nsqd": 400_000}
		if q.flag == onDisk {
			messages = map[string]int{"our-nsqd": 500_000, "stock-nsqd": 120_000}
		}
		for _, load := range []struct{ consumers, channels int }{{1, 1}, {8, 1}, {8, 3}} {
			if q.flag == onDisk && load.consumers == 1 {
				continue // bench_reader is the limit
			}
			err := b.duel(duel{
				what: fmt.Sprintf("SUB, RDY 2500, %s, %d consumers on each of %d channels", q.name, load.consumers, load.channels), goal: q.goal,
				note: "stock's bench_reader, which has a limit of its own",
				measure: func(s side) (float64, error) {
					d, err := b.startWithTopic(s, load.channels, q.flag)
					if err != nil {
						return 0, err
					}
					defer d.end()
					if err := fillTopic(d.tcp, "t", messages[s.name]); err != nil {
						return 0, err
					}
					if err := d.settled("t", messages[s.name]); err != nil {
						return 0, err
					}
					got := make([]float64, load.channels)
					err = each(load.channels, load.channels, func(i int) (err error) {
						got[i], err = b.stockBench("bench_reader", load.consumers, "-topic=t", fmt.Sprintf("-channel=c%d", i), "-nsqd-tcp-address="+d.tcp,
							"-runfor="+during.String(), "-rdy="+strconv.Itoa(readyCount))
						return err
					})
					total := 0.0
					for _, rate := range got {
						total += rate
					}
					return total, err
				},
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// passing: producers and consumers at once, with clients of ours, and the CPU that it
// takes.
func (b *bench) passing() error {
	for _, q := range queues {
		for _, load := range []struct{ clients, channels int }{{1, 1}, {8, 1}, {8, 3}} {
			var cpu [2]rates
			err := b.duel(duel{
				what: fmt.Sprintf("MPUB to FIN, %s, %d producers, %d consumers on each of %d channels", q.name, load.clients, load.clients, load.channels), goal: q.goal,
				measure: func(s side) (float64, error) {
					d, err := b.startWithTopic(s, load.channels, q.flag)
					if err != nil {
						return 0, err
					}
					defer d.end()
					before, err := d.usage()
					if err != nil {
						return 0, err
					}
					n, took, err := pass(d.tcp, load.clients, load.channels, b.window)
					if err != nil {
						return 0, err
					}
					after, err := d.usage()
					i := 0
					if s == b.sides()[1] {
						i = 1
					}
					cpu[i] = append(cpu[i], after.since(before).cpu.Seconds()/float64(n)*1e6)
					return perSecond(n, took), err
				},
			})
			if err != nil {
				return err
			}
			ratio := cpu[0].over(cpu[1])
			b.report.add(row{
				Group: "nsqd", What: fmt.Sprintf("CPU per million of these, %s, %d and %d on %d", q.name, load.clients, load.clients, load.channels),
				Ours: seconds(cpu[0]), Peer: "stock " + seconds(cpu[1]), Ratio: ratio.ratioText(), Goal: fmt.Sprintf("≤ %g", notWorse), Verdict: verdict(ratio.median() <= notWorse),
			})
		}
	}
	return nil
}

func seconds(r rates) string { return fmt.Sprintf("%.2f s", r.median()) }

// pass publishes and consumes at once and returns how many messages were finished in
// the time that it took. Producers wait when they are far ahead, so that what is
// measured is not how a backlog grows.
func pass(addr string, clients, channels int, during time.Duration) (finished int, took time.Duration, err error) {
	const ahead = 50_000
	var published, got atomic.Int64
	var consumers, producers sync.WaitGroup
	subscribed, err := dialAllV2(addr, clients*channels)
	if err != nil {
		return 0, 0, err
	}
	for i, c := range subscribed {
		if err := c.subscribe("t", fmt.Sprintf("c%d", i%channels), readyCount); err != nil {
			return 0, 0, err
		}
		consumers.Go(func() {
			c.consume(func([]byte) bool { got.Add(1); return true }) // ends with the connection
		})
	}
	defer consumers.Wait()
	defer closeAllV2(subscribed)
	publishing, err := dialAllV2(addr, clients)
	if err != nil {
		return 0, 0, err
	}
	defer closeAllV2(publishing)
	command := mpubOf("t", batchSize, messageSize)
	errs := make([]error, clients)
	begun := time.Now()
	until := begun.Add(during)
	for i, c := range publishing {
		producers.Go(func() {
			for errs[i] == nil && time.Now().Before(until) {
				if published.Load()*int64(channels)-got.Load() > ahead*int64(channels) {
					runtime.Gosched()
					time.Sleep(time.Millisecond)
					continue
				}
				errs[i] = c.do(command)
				published.Add(batchSize)
			}
		})
	}
	producers.Wait()
	n := int(got.Load())
	took = time.Since(begun)
	if n == 0 {
		errs = append(errs, errors.New("nothing was delivered"))
	}
	return n, took, errors.Join(errs...)
}

// latencies: from before a PUB to its message at a consumer, at half of what stock can
// do and at a trickle.
func (b *bench) latencies() error {
	stock := b.sides()[1]
	d, err := b.startWithTopic(stock, 1, inMemory)
	if err != nil {
		return err
	}
	n, took, err := publish(d.tcp, 4, withBody("PUB t", make([]byte, messageSize)), b.window)
	d.end()
	if err != nil {
		return err
	}
	half := perSecond(n, took) / 2
	for _, load := range []struct {
		name, identity string
		rate           float64
	}{
		{fmt.Sprintf("%.0f PUB/s (half of stock's most)", half), `{}`, half},
		{fmt.Sprintf("%.0f PUB/s, not buffered", half), `{"output_buffer_size":-1}`, half},
		{"100 PUB/s", `{}`, 100},
	} {
		var p99 [2]rates
		err := b.duel(duel{
			what: "PUB to delivery, p50, " + load.name, goal: notWorse, smaller: true, show: milliseconds,
			measure: func(s side) (float64, error) {
				d, err := b.startWithTopic(s, 1, inMemory)
				if err != nil {
					return 0, err
				}
				defer d.end()
				took, err := latency(d.tcp, load.identity, load.rate, b.window)
				i := 0
				if s == stock {
					i = 1
				}
				p99[i] = append(p99[i], took.quantile(.99).Seconds())
				return took.quantile(.5).Seconds(), err
			},
		})
		if err != nil {
			return err
		}
		ratio := p99[0].over(p99[1])
		b.report.add(row{
			Group: "nsqd", What: "PUB to delivery, p99, " + load.name, Ours: milliseconds(p99[0]), Peer: "stock " + milliseconds(p99[1]),
			Ratio: ratio.ratioText(), Goal: fmt.Sprintf("≤ %g", notWorse), Verdict: verdict(ratio.median() <= notWorse),
		})
	}
	return nil
}

func milliseconds(r rates) string { return short(time.Duration(r.median() * float64(time.Second))) }

// latency publishes single messages at a rate, by four producers, and returns how long
// each took to a consumer.
func latency(addr, identity string, rate float64, during time.Duration) (samples, error) {
	const clients = 4
	consumer, err := dialV2(addr, identity)
	if err != nil {
		return nil, err
	}
	if err := consumer.subscribe("t", "c0", readyCount); err != nil {
		return nil, err
	}
	begun := time.Now()
	var took samples
	var consuming sync.WaitGroup
	consuming.Go(func() {
		consumer.consume(func(body []byte) bool { // ends with the connection
			took = append(took, time.Since(begun)-time.Duration(binary.BigEndian.Uint64(body)))
			return true
		})
	})
	producers, err := dialAllV2(addr, clients)
	if err != nil {
		return nil, err
	}
	defer closeAllV2(producers)
	// Each sends at its own times; one that is late catches up.
	gap := time.Duration(float64(time.Second) * clients / rate)
	err = each(clients, clients, func(i int) error {
		command := withBody("PUB t", make([]byte, messageSize))
		stamp := command[len(command)-messageSize:]
		for at := begun.Add(gap * time.Duration(i) / clients); at.Before(begun.Add(during)); at = at.Add(gap) {
			time.Sleep(time.Until(at))
			binary.BigEndian.PutUint64(stamp, uint64(time.Since(begun)))
			if err := producers[i].do(command); err != nil {
				return err
			}
		}
		return nil
	})
	time.Sleep(300 * time.Millisecond) // stock may keep the last for 250 ms
	consumer.conn.Close()
	consuming.Wait()
	if len(took) == 0 && err == nil {
		err = errors.New("nothing was delivered")
	}
	return took, err
}

// syncing: every message on the disk before its answer.
func (b *bench) syncing() error {
	for _, load := range []struct {
		what      string
		producers int
		command   []byte
		messages  int
	}{
		{"PUB 200 B", 1, withBody("PUB t", make([]byte, messageSize)), 1},
		{"PUB 200 B", 8, withBody("PUB t", make([]byte, messageSize)), 1},
		{"MPUB 200 × 200 B", 8, mpubOf("t", batchSize, messageSize), batchSize},
	} {
		err := b.duel(duel{
			what: fmt.Sprintf("%s, --sync-every=1, disk, %d producers, no channel", load.what, load.producers), goal: 4,
			note: "ours answers after the sync, stock may answer before it",
			measure: func(s side) (float64, error) {
				d, err := b.startWithTopic(s, 0, onDisk, "--sync-every=1")
				if err != nil {
					return 0, err
				}
				defer d.end()
				n, took, err := publish(d.tcp, load.producers, load.command, b.window)
				return perSecond(n*load.messages, took), err
			},
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// queued: memory of a million messages.
func (b *bench) queued() error {
	const messages = 1_000_000
	return b.duel(duel{
		what: "memory (RSS) per queued message of 200 B, 1,000,000 of them", goal: notWorse, smaller: true, turns: 1,
		show: func(r rates) string { return fmt.Sprintf("%.0f B", r.median()) },
		measure: func(s side) (float64, error) {
			d, err := b.startWithTopic(s, 1, inMemory)
			if err != nil {
				return 0, err
			}
			defer d.end()
			before, err := d.usage()
			if err != nil {
				return 0, err
			}
			if err := fillTopic(d.tcp, "t", messages); err != nil {
				return 0, err
			}
			if err := d.settled("t", messages); err != nil {
				return 0, err
			}
			after, err := d.usage()
			return float64(after.since(before).resident) / messages, err
		},
	})
}

// idling: what 1,000 topics with 3 channels each cost that nobody uses.
func (b *bench) idling() error {
	const topics, channels = 1000, 3
	var cpu [2]rates
	err := b.duel(duel{
		what: fmt.Sprintf("memory (RSS) of %d topics × %d channels, idle", topics, channels), goal: notWorse, smaller: true, turns: 1,
		show: func(r rates) string { return mebibytes(int64(r.median())) },
		measure: func(s side) (float64, error) {
			data := b.path(s.name + "-idle")
			if err := os.Mkdir(data, 0o755); err != nil {
				return 0, err
			}
			if err := os.WriteFile(filepath.Join(data, "nsqd.dat"), idleMetadata(topics, channels), 0o600); err != nil {
				return 0, err
			}
			d, err := b.startNSQD(s, data)
			if err != nil {
				return 0, err
			}
			defer d.end()
			time.Sleep(time.Second)
			before, err := d.usage()
			if err != nil {
				return 0, err
			}
			const during = 4 * time.Second
			time.Sleep(during)
			after, err := d.usage()
			i := 0
			if s == b.sides()[1] {
				i = 1
			}
			cpu[i] = append(cpu[i], max(.01, after.since(before).cpu.Seconds())/during.Seconds()*100)
			return float64(after.resident), err
		},
	})
	if err != nil {
		return err
	}
	percent := func(r rates) string { return fmt.Sprintf("%.1f %%", r.median()) }
	ratio := cpu[0].over(cpu[1])
	b.report.add(row{
		Group: "nsqd", What: fmt.Sprintf("CPU of %d topics × %d channels, idle, of one core", topics, channels),
		Ours: percent(cpu[0]), Peer: "stock " + percent(cpu[1]), Ratio: ratio.ratioText(), Goal: fmt.Sprintf("≤ %g", notWorse), Verdict: verdict(ratio.median() <= notWorse),
	})
	return nil
}

// idleMetadata returns an nsqd.dat.
func idleMetadata(topics, channels int) []byte {
	var b bytes.Buffer
	b.WriteString(`{"topics":[`)
	for i := range topics {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"name":"topic-%d","paused":false,"channels":[`, i)
		for k := range channels {
			if k > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, `{"name":"channel-%d","paused":false}`, k)
		}
		b.WriteString(`]}`)
	}
	b.WriteString(`],"version":"1.3.0"}`)
	return b.Bytes()
}

// startWithTopic starts an nsqd with the topic t of so many channels.
func (b *bench) startWithTopic(s side, channels int, flags ...string) (*daemon, error) {
	d, err := b.startNSQD(s, "", flags...)
	if err != nil {
		return nil, err
	}
	return d, d.topic("t", channels)
}

// settled waits until a topic has handed all of so many messages to its channels.
func (d *daemon) settled(topic string, messages int) error {
	return eventually("all messages are in the channels", func() error {
		a, err := get(d.http, "/stats?format=json&include_mem=false&include_clients=false&topic="+topic)
		if err := wantOK(a, err); err != nil {
			return err
		}
		var v struct {
			Topics []struct {
				Depth    int `json:"depth"`
				Channels []struct {
					Depth int `json:"depth"`
				} `json:"channels"`
			} `json:"topics"`
		}
		if err := json.Unmarshal(a.body, &v); err != nil {
			return err
		}
		for _, t := range v.Topics {
			for _, c := range t.Channels {
				if t.Depth != 0 || c.Depth != messages {
					return fmt.Errorf("%s", a.body)
				}
			}
		}
		return nil
	})
}

var opsPerSecond = regexp.MustCompile(`([\d.]+)ops/s`)

// stockBench runs stock's bench_writer or bench_reader with so many connections, which
// is its GOMAXPROCS, and returns the messages per second that it saw.
func (b *bench) stockBench(name string, connections int, args ...string) (float64, error) {
	cmd := exec.Command(filepath.Join(b.temp, name), args...)
	cmd.Env = append(os.Environ(), "GOMAXPROCS="+strconv.Itoa(connections))
	cmd.SysProcAttr = dieWithParent()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%s: %w\n%s", name, err, out[max(0, len(out)-1000):])
	}
	match := opsPerSecond.FindSubmatch(out)
	if match == nil {
		return 0, fmt.Errorf("%s said %q", name, out)
	}
	return strconv.ParseFloat(string(match[1]), 64)
}
