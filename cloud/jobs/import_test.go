package jobs

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A program that imports this package gets the standard library, exceptions and
// the agenda, and nothing else.
func TestImports(t *testing.T) {
	const module = "github.com/otasim/otasim/"
	seen := map[string]bool{}
	var visit func(dir string)
	visit = func(dir string) {
		files, err := filepath.Glob(filepath.Join("../..", dir, "*.go"))
		require.NoError(t, err)
		require.NotEmpty(t, files, dir)
		for _, path := range files {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			f, err := parser.ParseFile(token.NewFileSet(), path, text, parser.ImportsOnly)
			require.NoError(t, err)
			for _, i := range f.Imports {
				name, err := strconv.Unquote(i.Path.Value)
				require.NoError(t, err)
				if ours, ok := strings.CutPrefix(name, module); ok && !seen[ours] {
					seen[ours] = true
					visit(ours)
				} else if !ok {
					first, _, _ := strings.Cut(name, "/")
					require.NotContains(t, first, ".", "%s imports %s, which is not of the standard library", path, name)
					require.False(t, name == "net" || strings.HasPrefix(name, "net/"), "%s imports %s", path, name)
				}
			}
		}
	}
	visit("cloud/jobs")
	var all []string
	for name := range seen {
		all = append(all, name)
	}
	slices.Sort(all)
	require.Equal(t, []string{"cloud/agenda", "cloud/aws", "cloud/defect"}, all)
}
