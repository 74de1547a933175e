package bucket

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestFaults(t *testing.T) {
	s := service()
	require.NoError(t, s.CreateBucket("firmware"))
	v1, err := s.Put("firmware", "a/app.bin", []byte("one"))
	require.NoError(t, err)
	_, err = s.Put("firmware", "a/app.bin", []byte("second"))
	require.NoError(t, err)
	_, err = s.Put("firmware", "a/app.bin.sig", []byte("other"))
	require.NoError(t, err)
	var asked []Request
	set := func(f Fault) {
		asked = nil
		s.SetFaults(func(now time.Time, r Request) Fault {
			require.Equal(t, epoch, now)
			asked = append(asked, r)
			return f
		})
	}
	read := func(key, version string) string {
		o, err := s.Get("firmware", key, version)
		if err != nil {
			return err.Error()
		}
		size, _, err := s.Head("firmware", key, version)
		require.NoError(t, err)
		require.EqualValues(t, len(o.Data), size)
		return string(o.Data)
	}
	set(Fault{Stale: true})
	require.Equal(t, "one", read("a/app.bin", ""))
	require.Equal(t, []Request{{http.MethodGet, "firmware", "a/app.bin", ""}, {http.MethodHead, "firmware", "a/app.bin", ""}}, asked)
	require.Equal(t, "one", read("a/app.bin", v1))
	require.Equal(t, "other", read("a/app.bin.sig", ""), "nothing is older than the first version")

	set(Fault{Status: 503, Delay: time.Second})
	require.Equal(t, "s3: 503 SlowDown: Please reduce your request rate.", read("a/app.bin", ""))
	_, err = s.Put("firmware", "a/app.bin", []byte("third"))
	require.ErrorContains(t, err, "503")
	require.Equal(t, 2*time.Second, s.Waited())
	require.Zero(t, s.Waited())
	require.Error(t, s.Probe("firmware", "a/app.bin", ""))
	require.Equal(t, time.Second, s.Waited())

	set(Fault{Status: 500})
	require.Equal(t, "s3: 500 InternalError: We encountered an internal error. Please try again.", read("a/app.bin", ""))
	s.SetFaults(nil)
	require.Equal(t, "second", read("a/app.bin", ""), "what failed has changed nothing")
	require.NoError(t, s.Probe("firmware", "a/app.bin", ""))
}
