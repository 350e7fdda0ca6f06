// Checks a copy of a transparency log with code that is not the platform's: the note and tlog
// packages of the Go checksum database (golang.org/x/mod/sumdb). See README.md beside it.
package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

// files reads tiles from a directory laid out as C2SP tlog-tiles says.
type files struct{ root string }

func (f files) Height() int { return height }

func (f files) SaveTiles([]tlog.Tile, [][]byte) {}

func (f files) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	found := make([][]byte, 0, len(tiles))
	for _, tile := range tiles {
		// Go writes the height into the path, and C2SP does not.
		path := strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
		data, err := os.ReadFile(filepath.Join(f.root, path))
		if err != nil {
			return nil, err
		}
		found = append(found, data)
	}
	return found, nil
}

// bundle reads the entries that the tile of level 0 with this index and width has hashes of.
func (f files) bundle(index int64, width int) ([][]byte, error) {
	tile := tlog.Tile{H: height, L: 0, N: index, W: width}
	path := strings.Replace(tile.Path(), "tile/8/0/", "tile/entries/", 1)
	data, err := os.ReadFile(filepath.Join(f.root, path))
	if err != nil {
		return nil, err
	}
	var entries [][]byte
	for len(data) > 0 {
		if len(data) < 2 {
			return nil, errors.New(path + " is cut short")
		}
		length := int(binary.BigEndian.Uint16(data))
		if len(data) < 2+length {
			return nil, errors.New(path + " is cut short")
		}
		entries = append(entries, data[2:2+length])
		data = data[2+length:]
	}
	if len(entries) != width {
		return nil, fmt.Errorf("%s has %d entries, not %d", path, len(entries), width)
	}
	return entries, nil
}

// witness is a verifier of cosignature/v1, which the note package knows nothing of.
type witness struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

func (w witness) Name() string { return w.name }

func (w witness) KeyHash() uint32 { return w.hash }

func (w witness) Verify(text, signature []byte) bool {
	if len(signature) != 8+ed25519.SignatureSize {
		return false
	}
	at := binary.BigEndian.Uint64(signature)
	message := fmt.Sprintf("cosignature/v1\ntime %d\n%s", at, text)
	return ed25519.Verify(w.key, []byte(message), signature[8:])
}

func verifier(vkey string) (note.Verifier, error) {
	parts := strings.SplitN(vkey, "+", 3)
	if len(parts) != 3 {
		return nil, errors.New("a verifier key is name+id+base64")
	}
	material, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(material) != 1+ed25519.PublicKeySize || material[0] != 4 {
		return note.NewVerifier(vkey)
	}
	sum := sha256.Sum256(append([]byte(parts[0]+"\n"), material...))
	hash := binary.BigEndian.Uint32(sum[:])
	if fmt.Sprintf("%08x", hash) != parts[1] {
		return nil, errors.New("the id is not that of this name and key")
	}
	return witness{parts[0], hash, ed25519.PublicKey(material[1:])}, nil
}

// open checks a checkpoint: every key given must have signed it, the first names the log.
func open(text []byte, keys []note.Verifier) (tlog.Tree, error) {
	opened, err := note.Open(text, note.VerifierList(keys...))
	if err != nil {
		return tlog.Tree{}, err
	}
	if len(opened.Sigs) != len(keys) {
		return tlog.Tree{}, fmt.Errorf("%d of %d keys signed", len(opened.Sigs), len(keys))
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) < 4 || lines[0] != keys[0].Name() {
		return tlog.Tree{}, errors.New("not a checkpoint of this log")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return tlog.Tree{}, err
	}
	root, err := tlog.ParseHash(lines[2])
	return tlog.Tree{N: size, Hash: root}, err
}

// checkLeaves checks every tile and every entry against the root.
func checkLeaves(tree tlog.Tree, tiles files) error {
	hashes := tlog.TileHashReader(tree, tiles)
	for first := int64(0); first < tree.N; first += 1 << height {
		width := 1 << height
		if tree.N-first < int64(width) {
			width = int(tree.N - first)
		}
		entries, err := tiles.bundle(first>>height, width)
		if err != nil {
			return err
		}
		indexes := make([]int64, width)
		for i := range indexes {
			indexes[i] = tlog.StoredHashIndex(0, first+int64(i))
		}
		found, err := hashes.ReadHashes(indexes)
		if err != nil {
			return err
		}
		for i, entry := range entries {
			if tlog.RecordHash(entry) != found[i] {
				return fmt.Errorf("entry %d does not match its hash", first+int64(i))
			}
		}
	}
	return nil
}

// checkProof checks a tlog-proof@v1 of ours against the entry in the copy, and against Go's own.
func checkProof(text []byte, keys []note.Verifier, whole tlog.Tree, tiles files) error {
	head, checkpoint, ok := bytes.Cut(text, []byte("\n\n"))
	lines := strings.Split(string(head), "\n")
	if !ok || len(lines) < 2 || lines[0] != "c2sp.org/tlog-proof@v1" {
		return errors.New("not a tlog-proof")
	}
	tree, err := open(checkpoint, keys)
	if err != nil {
		return err
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
	if index >= whole.N || tree.N > whole.N {
		return errors.New("the proof is of a log that is longer than this copy")
	}
	first := index >> height << height
	width := 1 << height
	if whole.N-first < int64(width) {
		width = int(whole.N - first)
	}
	entries, err := tiles.bundle(index>>height, width)
	if err != nil {
		return err
	}
	hash := tlog.RecordHash(entries[index-first])
	if err := tlog.CheckRecord(proof, tree.N, tree.Hash, index, hash); err != nil {
		return err
	}
	// An older checkpoint must be a prefix of the copy's.
	hashes := tlog.TileHashReader(whole, tiles)
	older, err := tlog.ProveTree(whole.N, tree.N, hashes)
	if err != nil {
		return err
	}
	return tlog.CheckTree(older, whole.N, whole.Hash, tree.N, tree.Hash)
}

func run(args []string) (tlog.Tree, error) {
	var keys []note.Verifier
	var paths []string
	for _, arg := range args {
		if strings.HasPrefix(arg, "-key=") {
			key, err := verifier(strings.TrimPrefix(arg, "-key="))
			if err != nil {
				return tlog.Tree{}, err
			}
			keys = append(keys, key)
			continue
		}
		paths = append(paths, arg)
	}
	if len(keys) == 0 || len(paths) == 0 {
		return tlog.Tree{}, errors.New("wanted: -key=VKEY [-key=WITNESS...] DIR [PROOF...]")
	}
	text, err := os.ReadFile(filepath.Join(paths[0], "checkpoint"))
	if err != nil {
		return tlog.Tree{}, err
	}
	tree, err := open(text, keys)
	if err != nil {
		return tree, err
	}
	tiles := files{paths[0]}
	if err := checkLeaves(tree, tiles); err != nil {
		return tree, err
	}
	for _, path := range paths[1:] {
		text, err := os.ReadFile(path)
		if err != nil {
			return tree, err
		}
		if err := checkProof(text, keys, tree, tiles); err != nil {
			return tree, fmt.Errorf("%s: %w", path, err)
		}
	}
	return tree, nil
}

func main() {
	tree, err := run(os.Args[1:])
	if err != nil {
		fmt.Println("refused:", err)
		os.Exit(1)
	}
	fmt.Printf("ok: %d entries under %v\n", tree.N, tree.Hash)
}
