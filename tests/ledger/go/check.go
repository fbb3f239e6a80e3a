// Check the test vectors with Go's own implementation of transparency logs and signed notes.
// Usage: go run check.go FOLDER
package main

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type treeVectors struct {
	Leaves    []string
	Roots     []string
	Inclusion []struct {
		Index, Size int64
		Proof       []string
	}
	Consistency []struct {
		Old, New int64
		Proof    []string
	}
}

type noteVector struct {
	Text, Note string
	Keys       []string
}

type receiptVectors struct {
	Key         string
	Checkpoints []string
	Proof       string
	Receipts    []struct{ Receipt, Leaf string }
}

type hashes []tlog.Hash

func (all hashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	var found []tlog.Hash
	for _, index := range indexes {
		found = append(found, all[index])
	}
	return found, nil
}

func must(err error, what string, details ...interface{}) {
	if err != nil {
		fmt.Fprintf(os.Stderr, what+": %v\n", append(details, err)...)
		os.Exit(1)
	}
}

func load(name string, value interface{}) {
	data, err := os.ReadFile(filepath.Join(os.Args[1], name))
	must(err, "read %s", name)
	must(json.Unmarshal(data, value), "parse %s", name)
}

func fromHex(text string) (hash tlog.Hash) {
	data, err := hex.DecodeString(text)
	must(err, "hash %s", text)
	copy(hash[:], data)
	return hash
}

func allFromHex(texts []string) (found []tlog.Hash) {
	for _, text := range texts {
		found = append(found, fromHex(text))
	}
	return found
}

func checkTree() (checked int) {
	var tree treeVectors
	load("tree.json", &tree)
	var stored hashes
	for at, leaf := range tree.Leaves {
		more, err := tlog.StoredHashesForRecordHash(int64(at), fromHex(leaf), stored)
		must(err, "leaf %d", at)
		stored = append(stored, more...)
		root, err := tlog.TreeHash(int64(at+1), stored)
		must(err, "root of %d", at+1)
		if root != fromHex(tree.Roots[at+1]) {
			must(fmt.Errorf("it is %v", root), "root of %d", at+1)
		}
		checked++
	}
	for _, each := range tree.Inclusion {
		root, leaf := fromHex(tree.Roots[each.Size]), fromHex(tree.Leaves[each.Index])
		must(tlog.CheckRecord(allFromHex(each.Proof), each.Size, root, each.Index, leaf), "inclusion %v", each)
		checked++
	}
	for _, each := range tree.Consistency {
		old, root := fromHex(tree.Roots[each.Old]), fromHex(tree.Roots[each.New])
		must(tlog.CheckTree(allFromHex(each.Proof), each.New, root, each.Old, old), "consistency %v", each)
		checked++
	}
	return checked
}

func open(text string, keys []string) *note.Note {
	var known []note.Verifier
	for _, key := range keys {
		verifier, err := note.NewVerifier(key)
		must(err, "key %s", key)
		known = append(known, verifier)
	}
	opened, err := note.Open([]byte(text), note.VerifierList(known...))
	must(err, "note %q", text)
	if len(opened.Sigs) != len(keys) {
		must(fmt.Errorf("%d of %d", len(opened.Sigs), len(keys)), "signatures of %q", text)
	}
	return opened
}

func checkNotes() (checked int) {
	var notes []noteVector
	load("notes.json", &notes)
	for _, each := range notes {
		if opened := open(each.Note, each.Keys); opened.Text != each.Text {
			must(fmt.Errorf("it is %q", opened.Text), "text of %q", each.Note)
		}
		checked++
	}
	return checked
}

func checkpoint(text string) tlog.Tree {
	lines := strings.SplitN(text, "\n", 4)
	size, err := strconv.ParseInt(lines[1], 10, 64)
	must(err, "size in %q", text)
	root, err := tlog.ParseHash(lines[2])
	must(err, "root in %q", text)
	return tlog.Tree{N: size, Hash: root}
}

func proofLines(lines []string) (found []tlog.Hash) {
	for _, line := range lines {
		hash, err := tlog.ParseHash(line)
		must(err, "hash %q", line)
		found = append(found, hash)
	}
	return found
}

func checkReceipts() (checked int) {
	var vectors receiptVectors
	load("receipts.json", &vectors)
	for _, each := range vectors.Receipts {
		parts := strings.SplitN(each.Receipt, "c2sp.org/tlog-proof@v1\n", 2)
		parts = strings.SplitN(parts[1], "\n\n", 2)
		tree := checkpoint(open(parts[1], []string{vectors.Key}).Text)
		lines := strings.Split(parts[0], "\n")
		index, err := strconv.ParseInt(strings.TrimPrefix(lines[0], "index "), 10, 64)
		must(err, "index in %q", parts[0])
		must(tlog.CheckRecord(proofLines(lines[1:]), tree.N, tree.Hash, index, fromHex(each.Leaf)), "receipt %q", each.Receipt)
		checked++
	}
	old := checkpoint(vectors.Checkpoints[0])
	parts := strings.SplitN(vectors.Proof, "\n\n", 2)
	lines, tree := strings.Split(parts[0], "\n"), checkpoint(parts[1])
	if lines[1] != fmt.Sprintf("old %d %s", old.N, base64.StdEncoding.EncodeToString(old.Hash[:])) {
		must(fmt.Errorf("it says %q", lines[1]), "the old checkpoint")
	}
	must(tlog.CheckTree(proofLines(lines[2:]), tree.N, tree.Hash, old.N, old.Hash), "proof %q", vectors.Proof)
	return checked + 1
}

func main() {
	fmt.Println(checkTree()+checkNotes()+checkReceipts(), "vectors hold")
}
