package device

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/flashmodel"
)

var update = flag.Bool("update", false, "write the table of docs/fidelity.md anew")

const fidelity = "../docs/fidelity.md"

// The documentation has exactly these rows.
func TestTimingTable(t *testing.T) {
	var b strings.Builder
	b.WriteString("<!-- timings -->\n| quantity | chip | value | how | source |\n|---|---|---|---|---|\n")
	for _, r := range Timings() {
		value := r.Time.String()
		switch {
		case r.Quantity == WiFiRate:
			value = fmt.Sprintf("%g Mbit/s", float64(r.Rate)/1e6)
		case r.Rate > 0:
			value = fmt.Sprintf("%g MB/s", float64(r.Rate)/1e6)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s: %s | %s |\n", r.Quantity, cmp.Or(r.Target, "all"), value, r.How, r.Note, r.Source)
	}
	b.WriteString("<!-- /timings -->")
	page, err := os.ReadFile(fidelity)
	require.NoError(t, err)
	table := regexp.MustCompile(`(?s)<!-- timings -->.*<!-- /timings -->`)
	if *update {
		page = table.ReplaceAllLiteral(page, []byte(b.String()))
		require.NoError(t, os.WriteFile(fidelity, page, 0o644))
	}
	require.Equal(t, b.String(), string(table.Find(page)), "go test ./device -run TimingTable -update")
}

// Every value of every model has a row, and every row a source.
func TestTimingsHaveSources(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range Timings() {
		name := string(r.Quantity) + " " + r.Target
		require.False(t, seen[name], name)
		seen[name] = true
		require.Contains(t, []How{Measured, Derived, Assumed}, r.How, name)
		require.NotEmpty(t, r.Note, name)
		require.NotEmpty(t, r.Source, name)
		require.True(t, (r.Time > 0) != (r.Rate > 0), name)
		require.Equal(t, r.How == Assumed, r.Source == noSource, name)
		if r.How == Measured {
			require.Regexp(t, `/\S+ (issue|pull request) \d+ \(20\d\d|docs\.espressif\.com`, r.Source, name)
		}
	}
	for _, m := range Models() {
		for what, have := range map[Quantity]any{BootTime: m.Boot, AppStartTime: m.AppStart, WiFiTime: m.WiFi, TLSTime: m.TLS, HTTPSTime: m.HTTPS, VerifyTime: m.Verify,
			HTTPTime: m.HTTP, JSONTime: m.JSON, CBORTime: m.CBOR, HashRate: m.HashRate} {
			row := timing(what, m.Target)
			require.NotNil(t, row, "%s %s", what, m.Target)
			if what == HashRate {
				require.Equal(t, row.Rate, have, m.Name)
			} else {
				require.Equal(t, row.Time, have, "%s %s", what, m.Name)
			}
		}
		chip, ok := flashmodel.ChipOfSize(m.FlashSize)
		require.True(t, ok)
		require.Equal(t, timing(EraseSector, "").Time, chip.Timing.Sector)
		require.Equal(t, timing(EraseBlock, "").Time, chip.Timing.Block)
		require.Equal(t, timing(ProgramPage, "").Time, chip.Timing.Page)
	}
}

func timing(what Quantity, target string) *Timing {
	for _, r := range Timings() {
		if r.Quantity == what && r.Target == target {
			return &r
		}
	}
	return nil
}
