package bucket

import (
	"strings"
	"testing"
)

func FuzzSplitURL(f *testing.F) {
	f.Add("https://s3.eu-central-1.amazonaws.com/firmware/a/app.bin")
	f.Add("https://firmware.s3.amazonaws.com/a/app.bin")
	f.Fuzz(func(t *testing.T, u string) {
		b, key, err := SplitURL(u)
		if err == nil && (b == "" || key == "" || !strings.Contains(u, b) || !strings.HasSuffix(u, key)) {
			t.Fatalf("%q: %q, %q", u, b, key)
		}
	})
}
