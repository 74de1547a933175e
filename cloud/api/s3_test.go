package api

import (
	"fmt"
	"hash/crc32"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"encoding/base64"
	"encoding/binary"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/cloud/sigv4"
)

const versioning = `<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Status>Enabled</Status></VersioningConfiguration>`

// newBucket is a fixture with a versioned bucket "firmware".
func newBucket(t testing.TB) *fixture {
	f := newFixture(t, nil)
	require.Equal(t, 200, f.signed(S3, "PUT", "/firmware", "").StatusCode)
	require.Equal(t, 200, f.signed(S3, "PUT", "/firmware?versioning", versioning).StatusCode)
	return f
}

func (f *fixture) put(target, body string, header ...string) (version string) {
	resp := f.signed(S3, "PUT", target, body, header...)
	require.Equal(f.t, 200, resp.StatusCode, target)
	return resp.Header.Get("X-Amz-Version-Id")
}

func TestBucket(t *testing.T) {
	f := newBucket(t)
	one := f.put("/firmware/a/b%20c.bin", "one", "X-Amz-Meta-Build", "7", "Content-Type", "application/x-esp32")
	two := f.put("/firmware/a/b%20c.bin", "second")
	require.NotEqual(t, one, two)
	get := func(method, query string, header ...string) (*http.Response, string) {
		resp := f.signed(S3, method, "/firmware/a/b%20c.bin"+query, "", header...)
		return resp, text(t, resp)
	}
	resp, body := get("GET", "")
	require.Equal(t, "second", body)
	require.Empty(t, resp.Header.Values("X-Amz-Meta-Build"), "metadata belongs to a version")
	resp, body = get("GET", "?versionId="+url.QueryEscape(one))
	require.Equal(t, "one", body)
	require.Equal(t, "7", resp.Header.Get("X-Amz-Meta-Build"))
	require.Equal(t, "application/x-esp32", resp.Header.Get("Content-Type"))
	require.Empty(t, resp.Header.Get("X-Amz-Content-Sha256"), "what signs a request is no metadata")
	resp, body = get("GET", "?versionId="+url.QueryEscape(two), "Range", "bytes=1-3")
	require.Equal(t, 206, resp.StatusCode)
	require.Equal(t, "eco", body)
	require.Equal(t, "bytes 1-3/6", resp.Header.Get("Content-Range"))
	resp, _ = get("HEAD", "?versionId="+url.QueryEscape(one))
	require.Equal(t, "3", resp.Header.Get("Content-Length"))
	resp, body = get("GET", "?versionId=none")
	require.Equal(t, 404, resp.StatusCode)
	require.Contains(t, body, "<Code>NoSuchVersion</Code>")
	require.Contains(t, text(t, f.signed(S3, "GET", "/", "")), "<Name>firmware</Name>")
	require.Contains(t, text(t, f.signed(S3, "GET", "/firmware?versioning", "")), "<Status>Enabled</Status>")
	require.Contains(t, text(t, f.signed(S3, "GET", "/firmware?location", "")), "LocationConstraint")
	list := text(t, f.signed(S3, "GET", "/firmware?versions", ""))
	require.Equal(t, 2, strings.Count(list, "<Version>"))
	require.Contains(t, text(t, f.signed(S3, "GET", "/firmware?list-type=2&prefix=a%2F", "")), "<Key>a/b c.bin</Key>")
	require.Equal(t, 404, f.signed(S3, "PUT", "/nowhere/x", "1").StatusCode)
	require.Len(t, f.core.calls, 4, "what was refused is not recorded")

	require.Equal(t, 204, f.signed(S3, "DELETE", "/firmware/a/b%20c.bin", "").StatusCode)
	resp, _ = get("GET", "")
	require.Equal(t, 404, resp.StatusCode)
	_, body = get("GET", "?versionId="+url.QueryEscape(one))
	require.Equal(t, "one", body, "a delete marker hides, it does not remove")
}

func TestCopyOfAVersion(t *testing.T) {
	f := newBucket(t)
	one := f.put("/firmware/raw%20image", "one", "X-Amz-Meta-Build", "7")
	f.put("/firmware/raw%20image", "two")
	resp := f.signed(S3, "PUT", "/firmware/copy", "", "X-Amz-Copy-Source", "/firmware/raw%20image?versionId="+url.QueryEscape(one))
	require.Equal(t, 200, resp.StatusCode)
	require.Equal(t, one, resp.Header.Get("X-Amz-Copy-Source-Version-Id"))
	require.NotEqual(t, one, resp.Header.Get("X-Amz-Version-Id"))
	require.Contains(t, text(t, resp), "<LastModified>2026-03-01T12:00:00.000Z</LastModified>")
	got := f.signed(S3, "GET", "/firmware/copy", "")
	require.Equal(t, "7", got.Header.Get("X-Amz-Meta-Build"))
	require.Equal(t, "one", text(t, got))
	resp = f.signed(S3, "PUT", "/firmware/replaced", "", "X-Amz-Copy-Source", "firmware%2Fraw%20image", "X-Amz-Metadata-Directive", "REPLACE", "X-Amz-Meta-New", "1")
	require.Equal(t, 200, resp.StatusCode)
	got = f.signed(S3, "GET", "/firmware/replaced", "")
	require.Equal(t, "1", got.Header.Get("X-Amz-Meta-New"))
	require.Empty(t, got.Header.Get("X-Amz-Meta-Build"))
	require.Equal(t, "two", text(t, got))
	require.Equal(t, 404, f.signed(S3, "PUT", "/firmware/copy", "", "X-Amz-Copy-Source", "/firmware/none").StatusCode)
	require.Equal(t, 400, f.signed(S3, "PUT", "/firmware/copy", "", "X-Amz-Copy-Source", "nonsense").StatusCode)
}

// An upload in two parts: one sent, one copied out of another object.
func TestMultipartUpload(t *testing.T) {
	f := newBucket(t)
	f.put("/firmware/source", "..world..")
	between := func(text, tag string) string {
		_, rest, ok := strings.Cut(text, "<"+tag+">")
		require.True(t, ok, text)
		inner, _, _ := strings.Cut(rest, "</"+tag+">")
		return inner
	}
	upload := between(text(t, f.signed(S3, "POST", "/firmware/whole?uploads", "")), "UploadId")
	first := strings.Repeat("hello ", 900000) // parts but the last have 5 MiB at S3
	f.opt.MaxObject = 16 << 20
	f.h = New(f.core, f.opt)
	one := f.signed(S3, "PUT", "/firmware/whole?partNumber=1&uploadId="+upload, first)
	require.Equal(t, 200, one.StatusCode)
	two := f.signed(S3, "PUT", "/firmware/whole?partNumber=2&uploadId="+upload, "", "X-Amz-Copy-Source", "/firmware/source", "X-Amz-Copy-Source-Range", "bytes=2-6")
	require.Equal(t, 200, two.StatusCode)
	copied := text(t, two)
	require.Contains(t, copied, "<CopyPartResult")
	tag := strings.ReplaceAll(between(copied, "ETag"), "&#34;", `"`)
	done := f.signed(S3, "POST", "/firmware/whole?uploadId="+upload, "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>"+one.Header.Get("ETag")+
		"</ETag></Part><Part><PartNumber>2</PartNumber><ETag>"+tag+"</ETag></Part></CompleteMultipartUpload>")
	require.Equal(t, 200, done.StatusCode)
	require.Equal(t, first+"world", text(t, f.signed(S3, "GET", "/firmware/whole", "")))
}

func TestPresignedURL(t *testing.T) {
	f := newBucket(t)
	f.put("/firmware/app.bin", "0123456789")
	u, err := Presigner("http://"+host, f.opt)(epoch, "https://s3.us-east-1.amazonaws.com/firmware/app.bin", time.Minute)
	require.NoError(t, err)
	_, err = Presigner("http://"+host, f.opt)(epoch, "ftp://x", time.Minute)
	require.Error(t, err)
	get := func(target string, header ...string) (int, string) {
		resp := f.do(f.request("GET", target, "", header...))
		return resp.StatusCode, text(t, resp)
	}
	status, body := get(u, "Range", "bytes=8-20")
	require.Equal(t, 206, status)
	require.Equal(t, "89", body)
	for name, forged := range map[string]string{
		"SignatureDoesNotMatch":             strings.Replace(u, "app.bin", "all.bin", 1),
		"InvalidAccessKeyId":                strings.Replace(u, "AKIDTEST", "AKIDFAKE", 1),
		"AccessDenied":                      strings.SplitN(u, "?", 2)[0],
		"AuthorizationQueryParametersError": strings.Replace(u, "X-Amz-Expires=60", "X-Amz-Expires=soon", 1),
	} {
		status, body := get(forged)
		require.Contains(t, []int{403, 400}, status, name)
		require.Contains(t, body, "<Code>"+name+"</Code>")
		require.True(t, strings.HasPrefix(body, "<?xml"), body)
	}
	status, _ = get(strings.Replace(u, "X-Amz-Expires=60", "X-Amz-Expires=6000", 1))
	require.Equal(t, 403, status)
	require.Equal(t, 403, f.do(f.request("PUT", u, "evil")).StatusCode, "signed for GET")
	f.core.pass(61 * time.Second)
	status, body = get(u)
	require.Equal(t, 403, status)
	require.Contains(t, body, "<Code>AccessDenied</Code><Message>Request has expired</Message><Resource>/firmware/app.bin</Resource>")

	// Also where signatures are not asked for.
	loose := newFixture(t, func(o *Options) { o.RequireAuth = false })
	require.Equal(t, 403, loose.do(loose.request("GET", "/firmware/app.bin", "")).StatusCode)
	loose.core.pass(61 * time.Second)
	require.Equal(t, 403, loose.do(loose.request("GET", u, "")).StatusCode)
}

func TestS3Signatures(t *testing.T) {
	f := newBucket(t)
	for _, tc := range []struct {
		name string
		sign func(r *http.Request)
		code string
	}{
		{"unsigned", func(*http.Request) {}, "403 AccessDenied"},
		{"another scheme", func(r *http.Request) { r.Header.Set("Authorization", "AWS a:b") }, "400 AuthorizationHeaderMalformed"},
		{"another region", func(r *http.Request) { sigv4.Sign(r, keys, "eu-west-1", S3, sigv4.Payload([]byte("x")), epoch) }, "400 AuthorizationHeaderMalformed"},
		{"unknown key", func(r *http.Request) {
			sigv4.Sign(r, sigv4.Credentials{AccessKey: "A", SecretKey: "secret"}, region, S3, sigv4.UnsignedPayload, epoch)
		}, "403 InvalidAccessKeyId"},
		{"wrong secret", func(r *http.Request) {
			sigv4.Sign(r, sigv4.Credentials{AccessKey: keys.AccessKey, SecretKey: "x"}, region, S3, sigv4.UnsignedPayload, epoch)
		}, "403 SignatureDoesNotMatch"},
		{"skew", func(r *http.Request) { sigv4.Sign(r, keys, region, S3, sigv4.UnsignedPayload, epoch.Add(time.Hour)) }, "403 RequestTimeTooSkewed"},
		{"another body", func(r *http.Request) { sigv4.Sign(r, keys, region, S3, sigv4.Payload([]byte("y")), epoch) }, "400 XAmzContentSHA256Mismatch"},
		{"unsigned header", func(r *http.Request) {
			sigv4.Sign(r, keys, region, S3, sigv4.UnsignedPayload, epoch)
			r.Header.Set("X-Amz-Copy-Source", "/firmware/secret")
		}, "403 AccessDenied"},
		{"wrong checksum", func(r *http.Request) {
			r.Header.Set("X-Amz-Checksum-Crc32", "AAAAAA==")
			sigv4.Sign(r, keys, region, S3, sigv4.UnsignedPayload, epoch)
		}, "400 BadDigest"},
	} {
		r := f.request("PUT", "/firmware/k", "x")
		tc.sign(r)
		resp := f.do(r)
		require.Contains(t, fmt.Sprint(resp.StatusCode)+" "+text(t, resp), tc.code[:4], tc.name)
		require.Equal(t, 404, f.signed(S3, "GET", "/firmware/k", "").StatusCode, tc.name)
		r = f.request("PUT", "/firmware/k", "x")
		tc.sign(r)
		require.Contains(t, text(t, f.do(r)), "<Code>"+tc.code[4:]+"</Code>", tc.name)
	}
	resp := f.signed(S3, "PUT", "/firmware/k", strings.Repeat("x", 1<<20+1))
	require.Equal(t, 400, resp.StatusCode)
	require.Contains(t, text(t, resp), "EntityTooLarge")
	head := f.do(f.request("HEAD", "/firmware/k", ""))
	require.Equal(t, 403, head.StatusCode)
	require.Empty(t, text(t, head))
}

// What recent SDKs send: chunks with a checksum behind them.
func TestChunkedUpload(t *testing.T) {
	f := newBucket(t)
	sum := binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE([]byte("hello world")))
	send := func(checksum, length string) *http.Response {
		body := "5\r\nhello\r\n6\r\n world\r\n0\r\nx-amz-checksum-crc32:" + checksum + "\r\n\r\n"
		r := f.request("PUT", "/firmware/chunks", body, "Content-Encoding", "aws-chunked", "X-Amz-Decoded-Content-Length", length, "X-Amz-Trailer", "x-amz-checksum-crc32")
		sigv4.Sign(r, keys, region, S3, sigv4.StreamingUnsignedTrailer, epoch)
		return f.do(r)
	}
	require.Equal(t, 200, send(base64.StdEncoding.EncodeToString(sum), "11").StatusCode)
	got := f.signed(S3, "GET", "/firmware/chunks", "")
	require.Empty(t, got.Header.Get("Content-Encoding"))
	require.Equal(t, "hello world", text(t, got))
	require.Contains(t, text(t, send("AAAAAA==", "11")), "BadDigest")
	require.Contains(t, text(t, send(base64.StdEncoding.EncodeToString(sum), "12")), "IncompleteBody")
}

func TestVirtualHostedBucket(t *testing.T) {
	f := newBucket(t)
	do := func(method, target, body string) *http.Response {
		r := f.request(method, target, body)
		r.Host = "firmware.s3.us-east-1.amazonaws.com"
		sigv4.Sign(r, keys, region, S3, sigv4.Payload([]byte(body)), epoch)
		return f.do(r)
	}
	require.Equal(t, 200, do("PUT", "/a%20b", "x").StatusCode)
	require.Equal(t, "x", text(t, do("GET", "/a%20b", "")))
	require.Equal(t, "x", text(t, f.signed(S3, "GET", "/firmware/a%20b", "")))
}

func TestChecksums(t *testing.T) {
	body := []byte("123456789") // check values of the CRC catalogue
	for name, want := range map[string]string{"crc32": "y/Q5Jg==", "crc32c": "4waSgw==", "crc64nvme": "rosUhgp5mIg=", "sha1": "98O8HYCOBHMq32eZZczDTKeuNEE=",
		"sha256": "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU="} {
		require.NoError(t, verifyChecksums(map[string]string{"x-amz-checksum-" + name: want}, body), name)
		require.Error(t, verifyChecksums(map[string]string{"x-amz-checksum-" + name: want}, body[1:]), name)
	}
}

// Downloads run beside changes; the race detector watches.
func TestReadsBesideWrites(t *testing.T) {
	f := newBucket(t)
	f.put("/firmware/a", strings.Repeat("x", 1000))
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := range 20 {
				if i == 0 {
					f.put("/firmware/a", strings.Repeat("y", 1000+n))
				} else if got := text(t, f.signed(S3, "GET", "/firmware/a", "")); len(got) < 1000 {
					t.Errorf("%d bytes", len(got))
				}
			}
		})
	}
	wg.Wait()
}

// TestPresignedVersion: a document may name a version of the object.
func TestPresignedVersion(t *testing.T) {
	f := newBucket(t)
	older := f.put("/firmware/app.bin", "older")
	f.put("/firmware/app.bin", "newer")
	object := "https://s3.us-east-1.amazonaws.com/firmware/app.bin"
	for query, want := range map[string]string{"": "newer", "?versionId=" + older: "older"} {
		u, err := Presigner("http://"+host, f.opt)(epoch, object+query, time.Minute)
		require.NoError(t, err)
		require.Equal(t, want, text(t, f.do(f.request("GET", u, ""))))
	}
}
