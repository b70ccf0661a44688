// Verify reads a published log with golang.org/x/mod/sumdb, which shares no code with whoever wrote the log.
//
//	verify VKEY FOLDER [KEY]
//
// FOLDER is a C2SP tlog-tiles tree: the folder log/ of an evidence bundle, or any other. VKEY is the log's verifier
// key; KEY is the base64 of the Ed25519 key that signed the entries, each of which is then a DSSE envelope. Verify
// opens every checkpoint, computes the tree from the tiles, proves inclusion of records and consistency between
// checkpoints, holds every entry against its leaf, and checks proof files. It prints what it counted, as JSON. Exit
// status 1 says that something does not hold, and standard error says what.
package main

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	height = 8 // 256 hashes in a tile
	width  = 1 << height
)

// tiles reads the tiles of a folder. Their paths have no height in tlog-tiles, unlike those of the checksum database.
type tiles struct{ folder string }

func (t tiles) Height() int { return height }

func (t tiles) SaveTiles([]tlog.Tile, [][]byte) {}

func (t tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var found [][]byte
	for _, tile := range wanted {
		path := strings.Replace(tile.Path(), "tile/"+strconv.Itoa(height)+"/", "tile/", 1)
		data, err := os.ReadFile(filepath.Join(t.folder, path))
		if err != nil {
			return nil, err
		}
		if len(data) != tile.W*tlog.HashSize {
			return nil, fmt.Errorf("%s has %d bytes", path, len(data))
		}
		found = append(found, data)
	}
	return found, nil
}

// count is what was verified.
type count struct {
	Size        int64  `json:"size"`
	Root        string `json:"root"`
	Checkpoints int    `json:"checkpoints"`
	Inclusion   int    `json:"inclusion"`
	Consistency int    `json:"consistency"`
	Entries     int64  `json:"entries"`
	Signatures  int    `json:"signatures"`
	Proofs      int    `json:"proofs"`
}

// log is one log under one key.
type log struct {
	verifier note.Verifier
	folder   string
	tree     tlog.Tree
	hashes   tlog.HashReader
	count    count
}

func main() {
	if len(os.Args) != 3 && len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: verify VKEY FOLDER [KEY]")
		os.Exit(2)
	}
	counted, err := verify(os.Args[1], os.Args[2], strings.Join(os.Args[3:], ""))
	if err != nil {
		fmt.Fprintln(os.Stderr, "verify:", err)
		os.Exit(1)
	}
	if err := json.NewEncoder(os.Stdout).Encode(counted); err != nil {
		os.Exit(1)
	}
}

func verify(vkey, folder, key string) (*count, error) {
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, err
	}
	l := &log{verifier: verifier, folder: folder}
	if l.tree, err = l.checkpointFile(filepath.Join(folder, "checkpoint")); err != nil {
		return nil, err
	}
	l.hashes = tlog.TileHashReader(l.tree, tiles{folder})
	l.count.Size, l.count.Root = l.tree.N, l.tree.Hash.String()
	root, err := tlog.TreeHash(l.tree.N, l.hashes)
	if err != nil {
		return nil, err
	}
	if root != l.tree.Hash {
		return nil, errors.New("the tiles do not give the root of the checkpoint")
	}
	for _, step := range []func() error{l.earlier, l.records, func() error { return l.entries(key) }, l.proofs} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return &l.count, nil
}

// checkpoint opens a signed note and parses the tree in it. The first lines of a C2SP checkpoint are its origin, size
// and root; the checksum database's own parser wants another first line, so it is given one.
func (l *log) checkpoint(raw []byte) (tlog.Tree, error) {
	opened, err := note.Open(raw, note.VerifierList(l.verifier))
	if err != nil {
		return tlog.Tree{}, err
	}
	lines := strings.SplitN(opened.Text, "\n", 2)
	if lines[0] != l.verifier.Name() {
		return tlog.Tree{}, fmt.Errorf("the checkpoint is of %q", lines[0])
	}
	return tlog.ParseTree([]byte("go.sum database tree\n" + lines[1]))
}

func (l *log) checkpointFile(path string) (tlog.Tree, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return tlog.Tree{}, err
	}
	tree, err := l.checkpoint(raw)
	if err != nil {
		return tlog.Tree{}, fmt.Errorf("%s: %w", path, err)
	}
	l.count.Checkpoints++
	return tree, nil
}

// earlier proves that every earlier checkpoint is a beginning of the tree, and of the one after it.
func (l *log) earlier() error {
	var trees []tlog.Tree
	for _, pattern := range []string{"checkpoints/*", "checkpoint.*"} {
		paths, err := filepath.Glob(filepath.Join(l.folder, pattern))
		if err != nil {
			return err
		}
		for _, path := range paths {
			tree, err := l.checkpointFile(path)
			if err != nil {
				return err
			}
			if tree.N > 0 && tree.N <= l.tree.N {
				trees = append(trees, tree)
			}
		}
	}
	sort.Slice(trees, func(i, j int) bool { return trees[i].N < trees[j].N })
	trees = append(trees, l.tree)
	for i := 1; i < len(trees); i++ {
		for _, newer := range []tlog.Tree{trees[i], l.tree} {
			older := trees[i-1]
			proof, err := tlog.ProveTree(newer.N, older.N, l.hashes)
			if err != nil {
				return err
			}
			if err := tlog.CheckTree(proof, newer.N, newer.Hash, older.N, older.Hash); err != nil {
				return fmt.Errorf("from %d to %d: %w", older.N, newer.N, err)
			}
			l.count.Consistency++
		}
	}
	return nil
}

// records proves that each record is in the tree.
func (l *log) records() error {
	for n := int64(0); n < l.tree.N; n++ {
		hashes, err := l.hashes.ReadHashes([]int64{tlog.StoredHashIndex(0, n)})
		if err != nil {
			return err
		}
		proof, err := tlog.ProveRecord(l.tree.N, n, l.hashes)
		if err != nil {
			return err
		}
		if err := tlog.CheckRecord(proof, l.tree.N, l.tree.Hash, n, hashes[0]); err != nil {
			return fmt.Errorf("record %d: %w", n, err)
		}
		l.count.Inclusion++
	}
	return nil
}

// entries holds every entry of the bundles against its leaf, and its signature against the key if there is one.
func (l *log) entries(key string) error {
	for first := int64(0); first < l.tree.N; first += width {
		held := l.tree.N - first
		if held > width {
			held = width
		}
		tile := tlog.Tile{H: height, L: 0, N: first / width, W: int(held)}
		path := strings.Replace(tile.Path(), "tile/"+strconv.Itoa(height)+"/0/", "tile/entries/", 1)
		raw, err := os.ReadFile(filepath.Join(l.folder, path))
		if err != nil {
			return err
		}
		for n := first; n < first+held; n++ {
			if len(raw) < 2 || len(raw)-2 < int(binary.BigEndian.Uint16(raw)) {
				return fmt.Errorf("%s ends before entry %d", path, n)
			}
			entry := raw[2 : 2+int(binary.BigEndian.Uint16(raw))]
			raw = raw[2+len(entry):]
			hashes, err := l.hashes.ReadHashes([]int64{tlog.StoredHashIndex(0, n)})
			if err != nil {
				return err
			}
			if tlog.RecordHash(entry) != hashes[0] {
				return fmt.Errorf("%s: entry %d is not the leaf of the tree", path, n)
			}
			l.count.Entries++
			if key == "" {
				continue
			}
			if err := signed(entry, key); err != nil {
				return fmt.Errorf("entry %d: %w", n, err)
			}
			l.count.Signatures++
		}
		if len(raw) != 0 {
			return fmt.Errorf("%s has %d bytes too many", path, len(raw))
		}
	}
	return nil
}

// signed checks a DSSE envelope with one Ed25519 signature.
func signed(entry []byte, key string) error {
	var envelope struct {
		Payload     []byte `json:"payload"`
		PayloadType string `json:"payloadType"`
		Signatures  []struct {
			Sig []byte `json:"sig"`
		} `json:"signatures"`
	}
	public, err := base64.StdEncoding.DecodeString(key)
	if err != nil || len(public) != ed25519.PublicKeySize {
		return errors.New("the key is no Ed25519 key in base64")
	}
	if err := json.Unmarshal(entry, &envelope); err != nil {
		return err
	}
	pae := fmt.Sprintf("DSSEv1 %d %s %d ", len(envelope.PayloadType), envelope.PayloadType, len(envelope.Payload))
	if len(envelope.Signatures) != 1 ||
		!ed25519.Verify(public, append([]byte(pae), envelope.Payload...), envelope.Signatures[0].Sig) {
		return errors.New("the key did not sign it")
	}
	return nil
}

// proofs checks every proof file (C2SP tlog-proof@v1) against the leaf that it is about.
func (l *log) proofs() error {
	paths, err := filepath.Glob(filepath.Join(l.folder, "proofs", "*.tlog-proof"))
	if err != nil {
		return err
	}
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := l.proof(raw); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		l.count.Proofs++
	}
	return nil
}

func (l *log) proof(raw []byte) error {
	parts := bytes.SplitN(raw, []byte("\n\n"), 2)
	lines := strings.Split(string(parts[0]), "\n")
	if len(parts) != 2 || len(lines) < 2 || lines[0] != "c2sp.org/tlog-proof@v1" {
		return errors.New("this is no tlog-proof")
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[1], "index "), 10, 64)
	if err != nil {
		return err
	}
	var proof tlog.RecordProof
	for _, line := range lines[2:] {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return err
		}
		proof = append(proof, hash)
	}
	tree, err := l.checkpoint(parts[1])
	if err != nil {
		return err
	}
	hashes, err := l.hashes.ReadHashes([]int64{tlog.StoredHashIndex(0, index)})
	if err != nil {
		return err
	}
	return tlog.CheckRecord(proof, tree.N, tree.Hash, index, hashes[0])
}
