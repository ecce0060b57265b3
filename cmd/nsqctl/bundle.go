package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"nsqraft/internal/clusterinfo"
	"nsqraft/internal/config"
	"nsqraft/internal/version"
	"nsqraft/nsqd"
)

// What a bundle may hold at most: of one answer, of all, of daemons of a kind.
const (
	bundleFile    = 8 << 20
	bundleTotal   = 512 << 20
	bundleDaemons = 500
)

func newDebugCommand(p *program) *cobra.Command {
	var name string
	var cpu time.Duration
	bundle := &cobra.Command{
		Use: "bundle", Short: "Collect what is needed to look into a problem, in one .tar.gz",
		Long: "Asks every daemon for its state, numbers, options, metrics and profiles, and writes\nall into one .tar.gz. Passwords and tokens are masked, as far as names and URLs tell\nthem; messages are not in it. Names of topics, hosts and clients are.",
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cpu < 0 || cpu > time.Minute {
				return usageError("", "--cpu must be at most 1m, not %v", cpu)
			}
			return p.bundle(cmd.Context(), name, cpu)
		},
	}
	bundle.Flags().StringVarP(&name, "file", "f", "", "`file` to write, which must not be there; - for stdout (default nsqctl-bundle-<time>.tar.gz)")
	bundle.Flags().DurationVar(&cpu, "cpu", 0, "also profile the processors for this `time` (default: no)")
	return group("debug", "What helps to look into a problem", bundle)
}

// bundle writes one.
func (p *program) bundle(ctx context.Context, name string, cpu time.Duration) error {
	v, err := p.viewAll(ctx)
	if err != nil {
		return err
	}
	now := time.Now().UTC()
	folder := "nsqctl-bundle-" + now.Format("20060102T150405Z")
	out := p.stdout
	if name == "" {
		name = folder + ".tar.gz"
	}
	var file *os.File
	if name != "-" {
		// It tells much of a cluster: for its owner only.
		if file, err = os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
			return err
		}
		defer file.Close()
		out = file
	}
	b := newBundle(p, out, folder, now)
	b.collect(ctx, v, cpu)
	if err := b.close(); err != nil {
		return fmt.Errorf("write the bundle: %w", err)
	}
	if file != nil {
		if err := file.Close(); err != nil {
			return fmt.Errorf("write the bundle: %w", err)
		}
		p.note("%s: %s, %s", name, plural(len(b.manifest.Files), "file"), size(b.written))
	}
	if n := b.failures(); n > 0 {
		return &failure{exitPartial, fmt.Errorf("%d of %s could not be had", n, plural(len(b.manifest.Files), "file")), "manifest.json in the bundle says which, and why"}
	}
	return nil
}

// A bundle is one that is being written.
type bundle struct {
	p      *program
	folder string
	at     time.Time
	gz     *gzip.Writer

	mu       sync.Mutex
	tar      *tar.Writer
	written  int64 // bytes of files
	manifest manifest
	err      error // of the first write that failed
}

// A manifest lists what is in a bundle.
type manifest struct {
	Nsqctl string         `json:"nsqctl"` // version
	At     time.Time      `json:"at"`
	Files  []manifestFile `json:"files"`
}

// A manifestFile is a file of a bundle, or what would have been one.
type manifestFile struct {
	Name  string `json:"name"`
	Bytes int    `json:"bytes"`
	Cut   bool   `json:"cut,omitempty"`    // there was more
	None  bool   `json:"absent,omitempty"` // a daemon such as stock's does not offer it
	Error string `json:"error,omitempty"`
}

func newBundle(p *program, w io.Writer, folder string, at time.Time) *bundle {
	gz := gzip.NewWriter(w)
	return &bundle{p: p, folder: folder, at: at, gz: gz, tar: tar.NewWriter(gz), manifest: manifest{Nsqctl: version.Version, At: at}}
}

func (b *bundle) failures() (n int) {
	for _, f := range b.manifest.Files {
		if f.Error != "" {
			n++
		}
	}
	return n
}

// close writes the manifest and what the archive ends with.
func (b *bundle) close() error {
	slices.SortFunc(b.manifest.Files, func(x, y manifestFile) int { return strings.Compare(x.Name, y.Name) })
	text, err := json.MarshalIndent(b.manifest, "", "  ")
	if err == nil {
		b.write("manifest.json", text)
	}
	return errors.Join(err, b.err, b.tar.Close(), b.gz.Close())
}

// add adds a file, or notes why it is not there.
func (b *bundle) add(name string, body []byte, err error) {
	f := manifestFile{Name: name}
	b.mu.Lock()
	defer b.mu.Unlock()
	if errors.Is(err, errCut) {
		f.Cut, err = true, nil
	}
	if err == nil && b.written+int64(len(body)) > bundleTotal {
		err = fmt.Errorf("the bundle has its %s", size(bundleTotal))
	}
	switch {
	case errors.Is(err, errAbsent):
		f.None = true
	case err != nil:
		f.Error = mask(err.Error())
	default:
		f.Bytes = len(body)
		b.write(name, body)
	}
	b.manifest.Files = append(b.manifest.Files, f)
}

func (b *bundle) write(name string, body []byte) {
	if b.err != nil {
		return
	}
	b.written += int64(len(body))
	header := &tar.Header{Name: b.folder + "/" + name, Mode: 0o600, Size: int64(len(body)), ModTime: b.at}
	if b.err = b.tar.WriteHeader(header); b.err == nil {
		_, b.err = b.tar.Write(body)
	}
}

// A paper is a file that a daemon is asked for.
type paper struct {
	name, path string
	binary     bool // is not masked
}

var (
	profiles = []paper{
		{"heap.pb.gz", "/debug/pprof/heap", true},
		{"goroutines.txt", "/debug/pprof/goroutine?debug=1", false},
		{"threads.txt", "/debug/pprof/threadcreate?debug=1", false},
		{"metrics.txt", "/metrics", false},
		{"ready.txt", "/readyz", false},
		{"info.json", "/info", false},
	}
	lookupdPapers = append(slices.Clone(profiles),
		paper{"cluster.json", "/cluster", false},
		paper{"nodes.json", "/nodes", false},
		paper{"topics.json", "/topics", false},
		paper{"registrations.json", "/debug", false})
	nsqdPapers = append(slices.Clone(profiles),
		paper{"ping.txt", "/ping", false},
		paper{"stats.json", "/stats?format=json", false})
)

// patientFor is how many times --timeout all questions to one daemon may take.
const patientFor = 4

// collect adds all there is to know.
func (b *bundle) collect(ctx context.Context, v *clusterinfo.View, cpu time.Duration) {
	status := statusPage(v)
	var out bytes.Buffer
	status.text(&text{w: &out})
	b.add("status.txt", out.Bytes(), nil)
	body, err := json.MarshalIndent(status.value, "", "  ")
	b.add("status.json", body, err)

	type visit struct {
		kind, address string
		papers        []paper
	}
	var visits []visit
	for _, l := range v.Lookupds[:min(len(v.Lookupds), bundleDaemons)] {
		visits = append(visits, visit{"nsqlookupd", l.Address, lookupdPapers})
	}
	for _, n := range v.Nodes[:min(len(v.Nodes), bundleDaemons)] {
		visits = append(visits, visit{"nsqd", n.Address, nsqdPapers})
	}
	each(len(visits), func(i int) {
		o := visits[i]
		// One that hangs is not waited for file by file.
		ctx, cancel := context.WithTimeout(ctx, patientFor*b.p.timeout+cpu)
		defer cancel()
		folder := o.kind + "/" + fileName(o.address) + "/"
		for _, paper := range o.papers {
			b.fetch(ctx, o.address, folder, paper, 0)
		}
		b.commandLine(ctx, o.address, folder)
		if o.kind == "nsqd" {
			b.options(ctx, o.address, folder)
		}
		if cpu > 0 {
			b.fetch(ctx, o.address, folder, paper{"cpu.pb.gz", fmt.Sprintf("/debug/pprof/profile?seconds=%d", max(1, int(cpu.Seconds()))), true}, cpu)
		}
	})
}

// fetch adds what a daemon answers; more is how long it works for it.
func (b *bundle) fetch(ctx context.Context, address, folder string, o paper, more time.Duration) {
	body, err := b.ask(ctx, address, o.path, more)
	if !o.binary {
		body = []byte(mask(string(body)))
	}
	b.add(folder+o.name, body, err)
}

var errAbsent = errors.New("this daemon does not offer it")

// ask returns the body of an answer; one that says no is an error, but for /readyz,
// whose no is the answer.
func (b *bundle) ask(ctx context.Context, address, path string, more time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, b.p.timeout+more)
	defer cancel()
	f, err := b.p.fetch(ctx, address, path, bundleFile)
	switch {
	case f == nil:
		return nil, err
	case f.status == http.StatusNotFound:
		return nil, errAbsent
	case f.status >= 400 && path != "/readyz":
		return nil, fmt.Errorf("answers %d %.200s", f.status, f.body)
	}
	return f.body, err
}

// commandLine adds the arguments that a daemon was started with.
func (b *bundle) commandLine(ctx context.Context, address, folder string) {
	body, err := b.ask(ctx, address, "/debug/pprof/cmdline", 0)
	var text strings.Builder
	secret := false // the argument before names one
	for arg := range strings.SplitSeq(string(body), "\x00") {
		name, value, ok := strings.Cut(arg, "=")
		switch {
		case secret:
			arg = masked
		case ok:
			arg = name + "=" + maskOption(name, value)
		default:
			arg = mask(arg)
		}
		secret = !ok && strings.HasPrefix(name, "-") && secretName.MatchString(name)
		text.WriteString(arg + "\n")
	}
	b.add(folder+"arguments.txt", []byte(text.String()), err)
}

// options adds the options of an nsqd: it tells each by its key.
func (b *bundle) options(ctx context.Context, address, folder string) {
	options := make(map[string]string)
	var failed error
	for _, key := range config.Keys(nsqd.DefaultOptions()) {
		body, err := b.ask(ctx, address, "/config/"+url.PathEscape(key), 0)
		if err != nil {
			failed = err // of stock, which has fewer, but not of all
			continue
		}
		options[key] = maskOption(key, string(body))
	}
	if len(options) > 0 {
		failed = nil
	}
	body, err := json.MarshalIndent(options, "", "  ")
	b.add(folder+"options.json", body, errors.Join(failed, err))
}

// fileName makes one of an address.
func fileName(address string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(".-_", r) {
			return r
		}
		return '_'
	}, address)
}
