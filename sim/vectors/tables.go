// Package vectors replays reference vectors, answers that real firmware and
// the vendor's host tools gave, against this module's own code.
//
//	DIR/flash/images.jsonl         tables the other files refer to
//	DIR/flash/keys.jsonl
//	DIR/flash/upstream_files.jsonl
//	DIR/flash/<suite>.jsonl[.gz]   one JSON object a line, one vector each
//	DIR/agent/shared_docs.json     job documents that traces refer to
//	DIR/agent/<suite>.jsonl[.gz]
package vectors

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Image is one row of the image table.
type Image struct {
	ID            string  `json:"id"`
	SecureVersion *uint32 `json:"secure_version"`
	Data          []byte  `json:"data_b64"`
	Boots         struct {
		Plain        bool `json:"plain"`
		AntiRollback bool `json:"anti_rollback"`
	} `json:"boots"`
	AppCheck struct {
		Plain        string `json:"plain"`
		AntiRollback string `json:"anti_rollback"`
	} `json:"app_check"`
}

// Tables holds what the vectors refer to by id. Keys and Upstream are rows as
// they stand in their files, nil when the file is absent.
type Tables struct {
	Images   map[string]Image
	Keys     map[string]json.RawMessage
	Upstream map[string]json.RawMessage

	Documents map[string]document // job documents by ref
}

// LoadTables reads the tables of DIR/flash; absent ones stay nil.
func LoadTables(dir string) (*Tables, error) {
	t := &Tables{}
	if err := loadTable(dir, "flash/images", &t.Images); err != nil {
		return nil, err
	}
	if err := loadTable(dir, "flash/keys", &t.Keys); err != nil {
		return nil, err
	}
	if err := t.loadDocuments(filepath.Join(dir, "agent", "shared_docs.json")); err != nil {
		return nil, err
	}
	return t, loadTable(dir, "flash/upstream_files", &t.Upstream)
}

func (t *Tables) loadDocuments(path string) error {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var list []document
	if err == nil {
		err = json.Unmarshal(b, &list)
	}
	if err != nil {
		return fmt.Errorf("table %s: %w", path, err)
	}
	t.Documents = map[string]document{}
	for _, d := range list {
		t.Documents[d.Ref] = d
	}
	return nil
}

// has reports whether the named table was found.
func (t *Tables) has(name string) bool {
	switch name {
	case "images":
		return t.Images != nil
	case "keys":
		return t.Keys != nil
	case "upstream_files":
		return t.Upstream != nil
	}
	return false
}

func loadTable[T any](dir, file string, into *map[string]T) error {
	rows := map[string]T{}
	err := eachLine(dir, file, func(line []byte) error {
		var id struct{ ID string }
		var row T
		if err := json.Unmarshal(line, &id); err != nil {
			return err
		}
		if err := json.Unmarshal(line, &row); err != nil {
			return err
		}
		rows[id.ID] = row
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("table %s: %w", file, err)
	}
	*into = rows
	return nil
}

// eachLine calls fn with every line of DIR/file.jsonl or DIR/file.jsonl.gz.
// The line is valid only during the call.
func eachLine(dir, file string, fn func(line []byte) error) error {
	path := filepath.Join(dir, filepath.FromSlash(file)+".jsonl")
	f, err := os.Open(path)
	zipped := errors.Is(err, fs.ErrNotExist)
	if zipped {
		f, err = os.Open(path + ".gz")
	}
	if err != nil {
		return err
	}
	defer f.Close()
	var r io.Reader = f
	if zipped {
		z, err := gzip.NewReader(f)
		if err != nil {
			return fmt.Errorf("%s.gz: %w", path, err)
		}
		r = z
	}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 64<<20)
	for n := 1; lines.Scan(); n++ {
		if len(lines.Bytes()) == 0 {
			continue
		}
		if err := fn(lines.Bytes()); err != nil {
			return fmt.Errorf("%s line %d: %w", path, n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
