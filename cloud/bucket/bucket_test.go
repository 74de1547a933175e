package bucket

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/cloud/aws"
)

var epoch = time.Date(2031, 5, 6, 7, 8, 9, 0, time.UTC)

func service() *Service {
	return New(aws.Realm{Region: "eu-central-1", Account: "123456789012"}, aws.Seed{7}, epoch)
}

func TestVersionsAndRanges(t *testing.T) {
	s := service()
	require.NoError(t, s.CreateBucket("firmware"))
	on, err := s.Versioned("firmware")
	require.NoError(t, err)
	require.True(t, on)
	v1, err := s.Put("firmware", "dir/app 1.bin", []byte("first version"))
	require.NoError(t, err)
	v2, err := s.Put("firmware", "dir/app 1.bin", []byte("second"))
	require.NoError(t, err)
	require.NotEmpty(t, v1)
	require.NotEqual(t, v1, v2)

	for version, want := range map[string]string{"": "second", v1: "first version", v2: "second"} {
		o, err := s.Get("firmware", "dir/app 1.bin", version)
		require.NoError(t, err)
		require.Equal(t, want, string(o.Data))
		size, etag, err := s.Head("firmware", "dir/app 1.bin", version)
		require.NoError(t, err)
		require.EqualValues(t, len(want), size)
		require.Equal(t, o.ETag, etag)
	}
	resp, data, err := s.do(http.MethodGet, "firmware", "dir/app 1.bin", versionQuery(v1), nil, map[string]string{"Range": "bytes=6-12"})
	require.NoError(t, err)
	require.Equal(t, http.StatusPartialContent, resp.StatusCode)
	require.Equal(t, "bytes 6-12/13", resp.Header.Get("Content-Range"))
	require.Equal(t, "version", string(data))

	_, err = s.Get("firmware", "nothing", "")
	var e *Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, 404, e.Status)
	require.Equal(t, "NoSuchKey", e.Code)
	_, err = s.Get("firmware", "dir/app 1.bin", "3/none")
	require.Error(t, err)
}

// transcript is everything a client can see of a small history.
func transcript(t *testing.T) string {
	s := service()
	var b strings.Builder
	call := func(method, path string, body string, header ...string) {
		var rd io.Reader
		if method == http.MethodPut {
			rd = strings.NewReader(body)
		}
		req, err := http.NewRequest(method, s.Endpoint()+path, rd)
		require.NoError(t, err)
		for i := 0; i+1 < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		resp, err := s.Client().Do(req)
		require.NoError(t, err)
		data, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		fmt.Fprintf(&b, "%s %s\n%s\n", method, path, resp.Status)
		require.NoError(t, resp.Header.Write(&b))
		fmt.Fprintf(&b, "%s\n", data)
		s.SetTime(clock{s}.Now().Add(time.Minute))
	}
	for _, name := range []string{"zeta", "alpha", "mid", "beta"} {
		require.NoError(t, s.CreateBucket(name))
	}
	call("PUT", "/mid/k", "one")
	call("PUT", "/mid/k", "two")
	call("PUT", "/mid/copy", "", "x-amz-copy-source", "/mid/k")
	call("GET", "/", "")
	call("GET", "/mid?versions", "")
	call("GET", "/mid", "")
	call("GET", "/mid/k", "")
	call("HEAD", "/mid/k", "")
	call("GET", "/mid/absent", "")
	return b.String()
}

func TestNothingOfTheHostIsVisible(t *testing.T) {
	first := transcript(t)
	for range 5 {
		require.Equal(t, first, transcript(t))
	}
	year := fmt.Sprint(time.Now().Year())
	require.NotContains(t, first, year+"-", "a host date")
	require.NotContains(t, first, " "+year+" ", "a host date")
	require.Contains(t, first, "2031-05-06T07:")
	alpha, zeta := strings.Index(first, "<Name>alpha"), strings.Index(first, "<Name>zeta")
	require.Less(t, alpha, zeta)
}

func TestSameHandlerBehindASocket(t *testing.T) {
	s := service()
	require.NoError(t, s.CreateBucket("firmware"))
	version, err := s.Put("firmware", "app.bin", []byte("image"))
	require.NoError(t, err)
	srv := httptest.NewServer(s.Handler())
	defer srv.Close()
	resp, err := http.Get(srv.URL + "/firmware/app.bin?" + versionQuery(version))
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, "image", string(data))
}

func TestReachedThroughASocket(t *testing.T) {
	s := service()
	srv := httptest.NewServer(s.Handler())
	defer srv.Close()
	s.Reach(srv.URL, srv.Client().Transport)
	require.NoError(t, s.CreateBucket("firmware"))
	image := []byte(strings.Repeat("image", 100_000))
	v1, err := s.Put("firmware", "dir/app 1.bin", image)
	require.NoError(t, err)
	_, err = s.Put("firmware", "dir/app 1.bin", []byte("second"))
	require.NoError(t, err)
	o, err := s.Get("firmware", "dir/app 1.bin", v1)
	require.NoError(t, err)
	require.Equal(t, image, o.Data)
	size, etag, err := s.Head("firmware", "dir/app 1.bin", v1)
	require.NoError(t, err)
	require.EqualValues(t, len(image), size)
	require.Equal(t, o.ETag, etag)
	require.EqualValues(t, 6, s.Stats().Requests)
	srv.Close()
	_, err = s.Get("firmware", "dir/app 1.bin", v1)
	require.Error(t, err)
}

// What S3 bills as PUT, what as GET, and what not at all.
func TestMetered(t *testing.T) {
	s := service()
	require.NoError(t, s.CreateBucket("firmware"))
	send := func(method, path string, header ...string) {
		t.Helper()
		r, err := http.NewRequest(method, s.Endpoint()+path, http.NoBody)
		require.NoError(t, err)
		if len(header) == 2 {
			r.Header.Set(header[0], header[1])
		}
		resp, err := s.Client().Do(r)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
	}
	_, err := s.Put("firmware", "app.bin", []byte("image"))
	require.NoError(t, err)
	for _, c := range []struct {
		method, path string
		header       []string
		puts, gets   uint64
	}{
		{"PUT", "/firmware/b.bin", nil, 1, 0},
		{"PUT", "/firmware/copy.bin", []string{"x-amz-copy-source", "/firmware/app.bin"}, 1, 0},
		{"POST", "/firmware?delete", nil, 1, 0},
		{"GET", "/", nil, 1, 0}, // ListBuckets
		{"GET", "/firmware", nil, 1, 0},
		{"GET", "/firmware?list-type=2&prefix=a", nil, 1, 0},
		{"GET", "/firmware?versions", nil, 1, 0},
		{"GET", "/firmware?versioning", nil, 0, 1},
		{"GET", "/firmware/app.bin", nil, 0, 1},
		{"GET", "/firmware/app.bin", []string{"Range", "bytes=0-1"}, 0, 1},
		{"GET", "/firmware/none", nil, 0, 1},
		{"HEAD", "/firmware/app.bin", nil, 0, 1},
		{"DELETE", "/firmware/b.bin", nil, 0, 0},
	} {
		before := s.Stats().Metered
		send(c.method, c.path, c.header...)
		after := s.Stats().Metered
		require.Equal(t, Metered{c.puts, c.gets}, Metered{after.Puts - before.Puts, after.Gets - before.Gets}, "%s %s", c.method, c.path)
	}
	before := s.Stats().Metered
	s.SetFaults(func(time.Time, Request) Fault { return Fault{Status: http.StatusServiceUnavailable} })
	send("GET", "/firmware/app.bin")
	require.Equal(t, before, s.Stats().Metered, "an error of S3's own is free")
}
