package sim

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/sim/report"
	"github.com/otasim/otasim/sim/scenario"
)

// TestVendorList runs the vendor's end-to-end cases (aws/amazon-freertos tools/ota_e2e_tests): each agent ends with the
// status that the vendor expects, or as the file says why not.
func TestVendorList(t *testing.T) {
	files, err := filepath.Glob("../scenarios/vendor/*.yaml")
	require.NoError(t, err)
	require.Len(t, files, 14)
	for _, f := range files {
		name := filepath.Base(f)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sc := load(t, "vendor/"+name[:len(name)-len(".yaml")], scenario.Options{})
			require.GreaterOrEqual(t, len(sc.Variants), 2)
			res := run(t, sc, Options{Workers: 1})
			require.Equal(t, report.VerdictPass, res.Verdict, "%+v", res.Variants)
			for _, v := range res.Variants {
				require.True(t, v.Holds, "%s: %s", v.Name, v.Verdict)
			}
		})
	}
}
