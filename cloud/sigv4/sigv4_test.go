package sigv4

import (
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const exampleSecret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"

// request makes the request of an example. head has one "Name: value" per line.
func request(t testing.TB, method, target, host, head string) *http.Request {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	r.Host = host
	for _, line := range strings.Split(strings.TrimSpace(head), "\n") {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			r.Header.Add(name, strings.TrimSpace(value))
		}
	}
	return r
}

func authorization(key, scope, headers, signature string) string {
	return "Authorization: AWS4-HMAC-SHA256 Credential=" + key + "/" + scope + "/aws4_request,SignedHeaders=" + headers + ",Signature=" + signature
}

// Examples that AWS has published: the signature test suite, the IAM example of
// the General Reference, and the S3 API Reference.
func TestPublishedExamples(t *testing.T) {
	const (
		suite = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
		empty = EmptyPayload
	)
	for _, tc := range []struct {
		name, method, target, host, head, secret, now string
	}{
		{"get-vanilla", "GET", "/", "example.amazonaws.com",
			"X-Amz-Date: 20150830T123600Z\n" + authorization("AKIDEXAMPLE", "20150830/us-east-1/service", "host;x-amz-date", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
			suite, "20150830T123600Z"},
		{"get-slash", "GET", "//", "example.amazonaws.com",
			"X-Amz-Date: 20150830T123600Z\n" + authorization("AKIDEXAMPLE", "20150830/us-east-1/service", "host;x-amz-date", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
			suite, "20150830T123600Z"},
		{"get-relative-relative", "GET", "/example1/example2/../..", "example.amazonaws.com",
			"X-Amz-Date: 20150830T123600Z\n" + authorization("AKIDEXAMPLE", "20150830/us-east-1/service", "host;x-amz-date", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
			suite, "20150830T123600Z"},
		{"get-vanilla-query-order-key-case", "GET", "/?Param2=value2&Param1=value1", "example.amazonaws.com",
			"X-Amz-Date: 20150830T123600Z\n" + authorization("AKIDEXAMPLE", "20150830/us-east-1/service", "host;x-amz-date", "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"),
			suite, "20150830T123600Z"},
		{"post-vanilla", "POST", "/", "example.amazonaws.com",
			"X-Amz-Date: 20150830T123600Z\n" + authorization("AKIDEXAMPLE", "20150830/us-east-1/service", "host;x-amz-date", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
			suite, "20150830T123600Z"},
		{"iam ListUsers", "GET", "/?Action=ListUsers&Version=2010-05-08", "iam.amazonaws.com",
			"X-Amz-Date: 20150830T123600Z\nContent-Type: application/x-www-form-urlencoded; charset=utf-8\n" +
				authorization("AKIDEXAMPLE", "20150830/us-east-1/iam", "content-type;host;x-amz-date", "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"),
			suite, "20150830T123600Z"},
		{"s3 GetObject with range", "GET", "/test.txt", "examplebucket.s3.amazonaws.com",
			"Range: bytes=0-9\nX-Amz-Date: 20130524T000000Z\nX-Amz-Content-Sha256: " + empty + "\n" +
				authorization("AKIAIOSFODNN7EXAMPLE", "20130524/us-east-1/s3", "host;range;x-amz-content-sha256;x-amz-date", "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"),
			exampleSecret, "20130524T000000Z"},
		{"s3 PutObject", "PUT", "/test%24file.text", "examplebucket.s3.amazonaws.com",
			"Date: Fri, 24 May 2013 00:00:00 GMT\nX-Amz-Date: 20130524T000000Z\nX-Amz-Storage-Class: REDUCED_REDUNDANCY\nX-Amz-Content-Sha256: 44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072\n" +
				authorization("AKIAIOSFODNN7EXAMPLE", "20130524/us-east-1/s3", "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class", "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"),
			exampleSecret, "20130524T000000Z"},
		{"s3 GetBucketLifecycle", "GET", "/?lifecycle", "examplebucket.s3.amazonaws.com",
			"X-Amz-Date: 20130524T000000Z\nX-Amz-Content-Sha256: " + empty + "\n" +
				authorization("AKIAIOSFODNN7EXAMPLE", "20130524/us-east-1/s3", "host;x-amz-content-sha256;x-amz-date", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
			exampleSecret, "20130524T000000Z"},
		{"s3 ListObjects", "GET", "/?max-keys=2&prefix=J", "examplebucket.s3.amazonaws.com",
			"X-Amz-Date: 20130524T000000Z\nX-Amz-Content-Sha256: " + empty + "\n" +
				authorization("AKIAIOSFODNN7EXAMPLE", "20130524/us-east-1/s3", "host;x-amz-content-sha256;x-amz-date", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
			exampleSecret, "20130524T000000Z"},
		{"s3 presigned", "GET", "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404",
			"examplebucket.s3.amazonaws.com", "", exampleSecret, "20130524T120000Z"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := request(t, tc.method, tc.target, tc.host, tc.head)
			now, err := time.Parse(timeLayout, tc.now)
			require.NoError(t, err)
			s, err := Parse(r)
			require.NoError(t, err)
			require.NoError(t, s.Verify(r, tc.secret, now))
			require.ErrorIs(t, s.Verify(r, tc.secret+"x", now), ErrMismatch)
			r.Method = "DELETE"
			require.ErrorIs(t, s.Verify(r, tc.secret, now), ErrMismatch)
		})
	}
}

func TestPublishedKey(t *testing.T) {
	key := Key("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", Scope{Date: "20150830", Region: "us-east-1", Service: "iam"})
	require.Equal(t, "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9", hex.EncodeToString(key))
}

// The example of the S3 API Reference: 66560 times "a" in chunks of 64 KiB.
func chunkedExample(t testing.TB) (*http.Request, []byte) {
	r := request(t, "PUT", "/examplebucket/chunkObject.txt", "s3.amazonaws.com",
		"X-Amz-Date: 20130524T000000Z\nX-Amz-Storage-Class: REDUCED_REDUNDANCY\nX-Amz-Content-Sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD\n"+
			"Content-Encoding: aws-chunked\nX-Amz-Decoded-Content-Length: 66560\nContent-Length: 66824\n"+
			authorization("AKIAIOSFODNN7EXAMPLE", "20130524/us-east-1/s3", "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class",
				"4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"))
	body := "10000;chunk-signature=ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648\r\n" + strings.Repeat("a", 65536) + "\r\n" +
		"400;chunk-signature=0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497\r\n" + strings.Repeat("a", 1024) + "\r\n" +
		"0;chunk-signature=b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9\r\n\r\n"
	return r, []byte(body)
}

func TestPublishedChunks(t *testing.T) {
	r, body := chunkedExample(t)
	s, err := Parse(r)
	require.NoError(t, err)
	require.NoError(t, s.Verify(r, exampleSecret, s.Time))
	require.True(t, Streaming(s.Payload))
	data, _, err := s.Unchunk(body, exampleSecret)
	require.NoError(t, err)
	require.Equal(t, strings.Repeat("a", 66560), string(data))
	body[200] = 'b'
	_, _, err = s.Unchunk(body, exampleSecret)
	require.ErrorIs(t, err, ErrMismatch)
}

func TestUnsignedChunksWithTrailer(t *testing.T) {
	s := Signature{Payload: StreamingUnsignedTrailer}
	data, trailer, err := s.Unchunk([]byte("5\r\nhello\r\n6\r\n world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n"), "")
	require.NoError(t, err)
	require.Equal(t, "hello world", string(data))
	require.Equal(t, map[string]string{"x-amz-checksum-crc32": "DUoRhQ=="}, trailer)
	for _, bad := range []string{"", "5", "5\r\nhell", "5\r\nhelloXX0\r\n\r\n", "-1\r\n\r\n", "fffffffff\r\n\r\n", "0\r\nnonsense\r\n\r\n", "zz\r\n"} {
		_, _, err := s.Unchunk([]byte(bad), "")
		require.ErrorIs(t, err, ErrMalformed, "%q", bad)
	}
	s.Payload = StreamingSignedTrailer
	_, _, err = s.Unchunk([]byte("0\r\n\r\n"), "secret")
	require.ErrorIs(t, err, ErrMismatch)
}

func TestSignAndVerify(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	c := Credentials{"AKID", "secret"}
	for _, target := range []string{"/things/a%3Ab/jobs/%24next?b=2&a=1&a=%20x", "/attached-policies/arn%3Aaws%3Aiot%3Aus-east-1%3A1%3Acert%2Fff", "/bucket/a%20key+%C3%A9?versionId=x%3D"} {
		for _, service := range []string{"iot", "s3"} {
			r := request(t, "POST", target, "localhost:4566", "Content-Type: application/json\nX-Amzn-Principal: arn")
			Sign(r, c, "us-east-1", service, Payload([]byte("{}")), now)
			s, err := Parse(r)
			require.NoError(t, err)
			require.Equal(t, Scope{"AKID", "20260102", "us-east-1", service}, s.Scope)
			if service != "s3" {
				s.Payload = Payload([]byte("{}"))
			}
			require.NoError(t, s.Verify(r, "secret", now))
			require.NoError(t, s.Verify(r, "secret", now.Add(Skew)))
			require.ErrorIs(t, s.Verify(r, "secret", now.Add(Skew+time.Second)), ErrSkew)
			require.ErrorIs(t, s.Verify(r, "secret", now.Add(-Skew-time.Second)), ErrSkew)
			r.Header.Set("X-Amz-Meta-Added", "later")
			require.ErrorIs(t, s.Verify(r, "secret", now), ErrUnsigned)
		}
	}
}

func TestPresign(t *testing.T) {
	u, err := url.Parse("http://127.0.0.1:4566/firmware/a%20b.bin?versionId=7")
	require.NoError(t, err)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	signed := Presign("GET", u, Credentials{"AKID", "secret"}, "eu-west-1", "s3", now, time.Minute)
	get := func(target string, at time.Duration) error {
		r := httptest.NewRequest("GET", target, nil)
		r.Header.Set("Range", "bytes=0-4")
		s, err := Parse(r)
		if err != nil {
			return err
		}
		return s.Verify(r, "secret", now.Add(at))
	}
	require.NoError(t, get(signed, 0))
	require.NoError(t, get(signed, time.Minute))
	require.NoError(t, get(signed, -Skew))
	require.ErrorIs(t, get(signed, time.Minute+1), ErrExpired)
	require.ErrorIs(t, get(signed, -Skew-1), ErrNotYet)
	require.ErrorIs(t, get(strings.Replace(signed, "versionId=7", "versionId=8", 1), 0), ErrMismatch)
	require.ErrorIs(t, get(strings.Replace(signed, "Expires=60", "Expires=600", 1), 0), ErrMismatch)
	require.ErrorIs(t, get(strings.Replace(signed, "127.0.0.1", "127.0.0.2", 1), 0), ErrMismatch)
	require.ErrorIs(t, get(strings.Replace(signed, "Expires=60", "Expires=604801", 1), 0), ErrMalformed)
	require.ErrorIs(t, get(u.String(), 0), ErrMissing)
}

func TestMalformed(t *testing.T) {
	sig := strings.Repeat("0", 64)
	for name, head := range map[string]string{
		"other scheme":   "Authorization: Bearer x",
		"no credential":  "X-Amz-Date: 20150830T123600Z\nAuthorization: AWS4-HMAC-SHA256 SignedHeaders=host, Signature=" + sig,
		"short scope":    "X-Amz-Date: 20150830T123600Z\nAuthorization: AWS4-HMAC-SHA256 Credential=a/b/c, SignedHeaders=host, Signature=" + sig,
		"no date":        authorization("A", "20150830/r/s", "host", sig),
		"other date":     "X-Amz-Date: 20150831T123600Z\n" + authorization("A", "20150830/r/s", "host", sig),
		"no names":       "X-Amz-Date: 20150830T123600Z\n" + authorization("A", "20150830/r/s", "", sig),
		"short":          "X-Amz-Date: 20150830T123600Z\n" + authorization("A", "20150830/r/s", "host", "00"),
		"not hex digits": "X-Amz-Date: 20150830T123600Z\n" + authorization("A", "20150830/r/s", "host", strings.Repeat("z", 64)),
	} {
		_, err := Parse(request(t, "GET", "/", "h", head))
		require.ErrorIs(t, err, ErrMalformed, name)
	}
	r := request(t, "GET", "/", "h", "X-Amz-Date: 20150830T123600Z\n"+authorization("A", "20150830/r/s", "x-amz-date", sig))
	s, err := Parse(r)
	require.NoError(t, err)
	require.ErrorIs(t, s.Verify(r, "x", s.Time), ErrUnsigned, "host must be signed")
}

func FuzzParse(f *testing.F) {
	f.Add("/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=a%2F20130524%2Fr%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature=00", "", "")
	f.Add("/a%2", "AWS4-HMAC-SHA256 Credential=A/20150830/r/s/aws4_request,SignedHeaders=host;x-amz-date,Signature="+strings.Repeat("0", 64), "20150830T123600Z")
	f.Add("/..//./%zz?%zz=%&&=", "AWS4-HMAC-SHA256 ", "x")
	f.Fuzz(func(t *testing.T, target, auth, date string) {
		r := &http.Request{Method: "GET", URL: &url.URL{}, RequestURI: target, Host: "h", Header: http.Header{"Authorization": {auth}, "X-Amz-Date": {date}}}
		_, r.URL.RawQuery, _ = strings.Cut(target, "?")
		for range 2 {
			if s, err := Parse(r); err == nil {
				if err := s.Verify(r, "secret", s.Time); err == nil {
					t.Fatalf("a guessed signature is good: %q %q", target, auth)
				}
			} else if !errors.Is(err, ErrMissing) && !errors.Is(err, ErrMalformed) {
				t.Fatal(err)
			}
			r.Header.Del("Authorization")
		}
	})
}

func FuzzUnchunk(f *testing.F) {
	f.Add([]byte("5\r\nhello\r\n0\r\nx-amz-checksum-crc32:AA==\r\n\r\n"), false)
	_, body := chunkedExample(f)
	f.Add(body, true)
	f.Fuzz(func(t *testing.T, body []byte, signed bool) {
		s := Signature{Payload: StreamingUnsignedTrailer}
		if signed {
			s.Payload = StreamingSignedTrailer
		}
		data, _, err := s.Unchunk(body, "secret")
		if err != nil && !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrMismatch) {
			t.Fatal(err)
		}
		if len(data) > len(body) {
			t.Fatalf("%d bytes out of %d", len(data), len(body))
		}
	})
}
