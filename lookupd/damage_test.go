package lookupd

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
)

// damageEnv names a file with one data folder a line; the test binary then
// opens them in turn and says what came of each, instead of testing anything. It
// is another process, for what a damaged file does to it may end it.
const damageEnv = "NSQRAFT_TEST_OPEN_FOLDERS"

// TestOpenFolders is the other process of TestDamagedDisk.
func TestOpenFolders(t *testing.T) {
	list := os.Getenv(damageEnv)
	if list == "" {
		t.Skip("only for TestDamagedDisk")
	}
	folders, err := os.ReadFile(list)
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range strings.Fields(string(folders)) {
		fmt.Printf("opening %s\n", dir)
		hash, err := openFolder(dir)
		if err != nil {
			fmt.Printf("refused %s\n", strings.ReplaceAll(err.Error(), "\n", " "))
			continue
		}
		fmt.Printf("serves %s\n", hash)
	}
	fmt.Println("end")
}

// openFolder starts a node without others on a data folder, as main does, and
// returns what it then holds: the registry, and the term and vote it began with.
func openFolder(dir string) (state string, err error) {
	n, term, err := startAlone(dir)
	if err != nil {
		return "", err
	}
	defer n.Close()
	v, err := n.Consistent(context.Background())
	for begun := time.Now(); err != nil; v, err = n.Consistent(context.Background()) {
		if time.Since(begun) > 10*time.Second {
			return "", fmt.Errorf("does not lead: %w", err)
		}
	}
	names := sha256.New() // the registry's own hash covers how often the node has started
	for _, topic := range v.TopicNames() {
		fmt.Fprintln(names, topic, v.Topic(topic).Channels())
	}
	return fmt.Sprintf("%d topics %x, %s", len(v.TopicNames()), names.Sum(nil)[:8], term), nil
}

// startAlone opens a node that is a whole cluster, with files.
func startAlone(dir string) (n *node, votes string, err error) {
	o := DefaultOptions()
	o.NodeID, o.DataPath = "n1", dir
	o.InitialCluster = []string{"n1=localhost:4162"}
	o.HeartbeatTimeout, o.ElectionTimeout, o.LeaderLeaseTimeout = 10*time.Millisecond, 10*time.Millisecond, 10*time.Millisecond
	if err := o.Validate(); err != nil {
		return nil, "", err
	}
	failed := func(err error) { fmt.Printf("failed %s\n", strings.ReplaceAll(err.Error(), "\n", " ")) }
	m := newMetrics()
	s, err := openStorage(dir, o.NodeID, failed, m.raftFsync, hclog.NewNullLogger())
	if err != nil {
		return nil, "", err
	}
	term, _ := s.log.GetUint64([]byte("CurrentTerm"))
	voted, _ := s.log.GetUint64([]byte("LastVoteTerm"))
	candidate, _ := s.log.Get([]byte("LastVoteCand"))
	votes = fmt.Sprintf("term %d vote %d %s", term, voted, candidate)
	env := environment{
		dial:  func(context.Context, string) (net.Conn, error) { return nil, net.ErrClosed },
		store: s, fatal: failed, metrics: m,
	}
	n, err = openNode(o, env, &heldSessions{}, hclog.NewNullLogger())
	if err != nil {
		s.close()
		return nil, "", err
	}
	return n, votes, nil
}

// intactFolder makes a data folder with two snapshots, a log that reaches from
// before them to after them, and a commit mark.
func intactFolder(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	n, _, err := startAlone(dir)
	if err != nil {
		t.Fatal(err)
	}
	write := func(from, to int) {
		for i := from; i < to; i++ {
			if _, err := n.Submit(t.Context(), createChannel(fmt.Sprintf("topic%d", i), strings.Repeat("c", i%40+1))).Wait(); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(0, 60)
	for i := range 2 {
		if err := n.raft.Snapshot().Error(); err != nil {
			t.Fatal(err)
		}
		write(60+40*i, 100+40*i)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A damage is done to a copy of an intact folder.
type damage struct {
	name      string
	mustServe bool // it does not matter; otherwise that it is noticed is enough
	do        func(t *testing.T, dir string)
}

// TestDamagedDisk opens data folders that were truncated, overwritten or had
// single bits flipped. The node must either hold exactly what it held before, or
// refuse in a sentence that says what to do; it must never end without one, and
// never serve anything else.
func TestDamagedDisk(t *testing.T) {
	t.Parallel()
	intact := intactFolder(t)
	hash, err := openFolder(copyFolder(t, intact))
	if err != nil {
		t.Fatalf("the intact folder: %v", err)
	}
	damages := damagesOf(t, intact)
	var folders []string
	for _, d := range damages {
		dir := copyFolder(t, intact)
		d.do(t, dir)
		folders = append(folders, dir)
	}
	said := make([]string, len(folders))
	var halves sync.WaitGroup
	half := len(folders) / 2
	halves.Go(func() { copy(said, openElsewhere(t, folders[:half])) })
	halves.Go(func() { copy(said[half:], openElsewhere(t, folders[half:])) })
	halves.Wait()
	refused := 0
	for i, said := range said {
		d := damages[i]
		switch {
		case said == "serves "+hash:
		case strings.HasPrefix(said, "serves"):
			t.Errorf("%s: differs silently: %s, want %s", d.name, said, hash)
		case strings.HasPrefix(said, "refused"):
			refused++
			if d.mustServe {
				t.Errorf("%s: %s, want it survived", d.name, said)
			}
			if !strings.Contains(said, startEmpty) && !strings.Contains(said, "move the folder away") && !strings.Contains(said, "belongs to node") {
				t.Errorf("%s: does not say what to do: %s", d.name, said)
			}
		default:
			t.Errorf("%s: ended without a sentence: %s", d.name, said)
		}
	}
	t.Logf("%d damages: %d refused, the others without loss", len(damages), refused)
}

// openElsewhere opens each folder in another process and returns what it said. If
// the process ends over one, the next one goes on after it.
func openElsewhere(t *testing.T, folders []string) []string {
	t.Helper()
	var said []string
	for len(said) < len(folders) {
		list := filepath.Join(t.TempDir(), "folders")
		if err := os.WriteFile(list, []byte(strings.Join(folders[len(said):], "\n")), 0o600); err != nil {
			t.Error(err)
			return said
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestOpenFolders$", "-test.v")
		cmd.Env = append(os.Environ(), damageEnv+"="+list)
		out, err := cmd.CombinedOutput()
		before := len(said)
		ended, open := false, false
		var trouble string
		lines := bufio.NewScanner(bytes.NewReader(out))
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			switch line := lines.Text(); {
			case strings.HasPrefix(line, "opening "):
				open, trouble = true, ""
			case strings.HasPrefix(line, "serves "), strings.HasPrefix(line, "refused "):
				if open {
					said, open = append(said, line), false
				}
			case line == "end":
				ended = true
			case open && len(trouble) < 600:
				trouble += " " + line
			}
		}
		if !ended && open {
			said = append(said, "ended"+trouble)
		}
		if len(said) == before {
			t.Errorf("the other process: %v\n%s", err, out)
			return said
		}
	}
	return said
}

func damagesOf(t *testing.T, intact string) (all []damage) {
	t.Helper()
	add := func(name string, mustServe bool, do func(t *testing.T, dir string)) {
		all = append(all, damage{name, mustServe, do})
	}
	inFile := func(name string, change func([]byte) []byte) func(*testing.T, string) {
		return func(t *testing.T, dir string) { rewrite(t, filepath.Join(dir, name), change) }
	}
	truncated := func(size int) func([]byte) []byte { return func(b []byte) []byte { return b[:size] } }
	flipped := func(bit int) func([]byte) []byte {
		return func(b []byte) []byte { b[bit/8] ^= 1 << (bit % 8); return b }
	}
	gone := func(name string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}

	log := read(t, filepath.Join(intact, logFile))
	used := boltUsed(log)
	page := os.Getpagesize()
	for _, size := range []int{0, 1, page, 2 * page, 3 * page, used / 2, used - page, used - 1} {
		add(fmt.Sprintf("log of %d bytes, %d in use, cut to %d", len(log), used, size), false, inFile(logFile, truncated(size)))
	}
	for p := range used / page {
		add(fmt.Sprintf("page %d of the log zeroed", p), false, inFile(logFile, func(b []byte) []byte {
			clear(b[p*page : (p+1)*page])
			return b
		}))
	}
	add("both meta pages of the log zeroed", false, inFile(logFile, func(b []byte) []byte { clear(b[:2*page]); return b }))
	rng := rand.New(rand.NewPCG(1, 2))
	for range 40 {
		bit := rng.IntN(used * 8)
		add(fmt.Sprintf("bit %d of byte %d, page %d, of the log flipped", bit%8, bit/8, bit/8/page), false, inFile(logFile, flipped(bit)))
	}
	for _, key := range []string{"CurrentTerm", "LastVote", "NsqraftInstance"} {
		at := bytes.LastIndex(log[:used], []byte(key))
		if at < 0 {
			t.Fatalf("no %s in the stable store", key)
		}
		for i := 0; i < len(key)+12; i += 3 {
			bit := (at+i)*8 + i%8
			add(fmt.Sprintf("a bit %d bytes into %s flipped", i, key), false, inFile(logFile, flipped(bit)))
		}
	}

	snapshots, err := filepath.Glob(filepath.Join(intact, "snapshots", "*"))
	if err != nil || len(snapshots) != 2 {
		t.Fatalf("%d snapshots, want 2: %v", len(snapshots), err)
	}
	slices.SortFunc(snapshots, func(a, b string) int { return len(a) - len(b) }) // their names hold the index
	for i, path := range snapshots {
		dir, _ := filepath.Rel(intact, path)
		which := []string{"older", "newer"}[i]
		add("the "+which+" snapshot gone", false, gone(dir))
		for _, name := range []string{"state.bin", snapshotMetaFile, metaSumFile} {
			file := filepath.Join(dir, name)
			size := len(read(t, filepath.Join(path, name)))
			add(fmt.Sprintf("%s of the %s snapshot gone", name, which), false, gone(file))
			add(fmt.Sprintf("%s of the %s snapshot cut", name, which), false, inFile(file, truncated(size/2)))
			for range 8 {
				bit := rng.IntN(size * 8)
				add(fmt.Sprintf("bit %d of byte %d of %s of the %s snapshot flipped", bit%8, bit/8, name, which), false, inFile(file, flipped(bit)))
			}
		}
	}
	add("both snapshots gone", false, gone("snapshots"))

	id := read(t, filepath.Join(intact, identityFile))
	add("identity cut", false, inFile(identityFile, truncated(len(id)/2)))
	add("identity empty", false, inFile(identityFile, truncated(0)))
	for i := 0; i < len(id); i += 3 {
		add(fmt.Sprintf("a bit of byte %d of the identity flipped", i), false, inFile(identityFile, flipped(i*8+i%8)))
	}

	add("commit mark gone", true, gone(markFile))
	add("commit mark empty", true, inFile(markFile, truncated(0)))
	add("commit mark cut", true, inFile(markFile, truncated(7)))
	for i := 0; i < 12; i += 2 {
		add(fmt.Sprintf("a bit of byte %d of the commit mark flipped", i), true, inFile(markFile, flipped(i*8+i%8)))
	}
	return all
}

// boltUsed returns how many bytes of a bbolt file its newer meta page says are
// in use.
func boltUsed(file []byte) int {
	used := 0
	var newest uint64
	for page := range 2 {
		meta := file[page*os.Getpagesize()+16:]
		if tx := binary.LittleEndian.Uint64(meta[48:]); tx >= newest {
			newest, used = tx, int(binary.LittleEndian.Uint64(meta[40:]))*os.Getpagesize()
		}
	}
	return used
}

func copyFolder(t *testing.T, from string) (to string) {
	t.Helper()
	to = t.TempDir()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return to
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func rewrite(t *testing.T, path string, change func([]byte) []byte) {
	t.Helper()
	if err := os.WriteFile(path, change(read(t, path)), 0o600); err != nil {
		t.Fatal(err)
	}
}
