package partition

import (
	"embed"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

//go:embed tables/*.csv
var tables embed.FS

// Names returns the names of the built-in tables, sorted. Names that begin
// with partitions_ are those of the files in espressif/esp-idf
// components/partition_table; those that begin with afr_ are the tables of the
// aws/amazon-freertos ESP32 ports.
func Names() []string {
	entries, err := fs.ReadDir(tables, "tables")
	if err != nil {
		return nil
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	slices.Sort(names)
	return names
}

// BuiltinCSV returns the text of a built-in table. The ending ".csv" may be
// left out.
func BuiltinCSV(name string) (string, bool) {
	text, err := tables.ReadFile("tables/" + strings.TrimSuffix(name, ".csv") + ".csv")
	return string(text), err == nil
}

// Builtin returns a built-in table for a table sector at DefaultOffset.
func Builtin(name string) (Table, error) {
	text, ok := BuiltinCSV(name)
	if !ok {
		return nil, fmt.Errorf("no built-in partition table %q", name)
	}
	return Parse([]byte(text), Options{})
}
