package api

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/cloud/sigv4"
)

// One signed request to the control plane, in process.
func BenchmarkDescribeThing(b *testing.B) {
	f := newFixture(b, nil)
	require.Equal(b, 200, f.signed(IoT, "POST", "/things/t1", "").StatusCode)
	r := f.request("GET", "/things/t1", "")
	sigv4.Sign(r, keys, region, IoT, sigv4.EmptyPayload, epoch)
	b.ReportAllocs()
	for b.Loop() {
		w := httptest.NewRecorder()
		f.h.ServeHTTP(w, r)
		if w.Code != 200 {
			b.Fatal(w.Code)
		}
	}
}

// One block of an image by presigned URL.
func BenchmarkPresignedRange(b *testing.B) {
	f := newBucket(b)
	f.put("/firmware/app.bin", strings.Repeat("x", 1<<20))
	u, err := Presigner("http://"+host, f.opt)(epoch, "https://s3.us-east-1.amazonaws.com/firmware/app.bin", 3600e9)
	require.NoError(b, err)
	r := f.request("GET", u, "", "Range", "bytes=4096-8191")
	b.SetBytes(4096)
	b.ReportAllocs()
	for b.Loop() {
		w := httptest.NewRecorder()
		f.h.ServeHTTP(w, r)
		if w.Code != 206 {
			b.Fatal(w.Code)
		}
	}
}
