package streams

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/cloud/aws"
)

var (
	epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	realm = aws.Realm{Region: "eu-central-1", Account: "123456789012"}
)

const role = "arn:aws:iam::123456789012:role/ota"

// store is a bucket of one key space, by "bucket/key@version".
type store struct {
	objects map[string]Object
	gets    int
}

func (s *store) Get(bucket, key, version string) (Object, error) {
	s.gets++
	if o, ok := s.objects[bucket+"/"+key+"@"+version]; ok {
		return o, nil
	}
	return Object{}, errors.New("NoSuchKey")
}

func (s *store) Head(bucket, key, version string) (int64, string, error) {
	if o, ok := s.objects[bucket+"/"+key+"@"+version]; ok {
		return int64(len(o.Data)), o.ETag, nil
	}
	return 0, "", errors.New("NoSuchKey")
}

func filled(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i>>8) ^ byte(i)
	}
	return b
}

// service has stream "s" with file 0 of 20 blocks of 4096 bytes and a bit less.
func service(t testing.TB, sw Switches) (*Service, *store) {
	st := &store{objects: map[string]Object{"b/app@v1": {filled(20*4096 - 100), "e1"}, "b/late@": {filled(1000), "e2"}}}
	s := New(realm, st, sw)
	_, err := s.CreateStream(epoch, CreateRequest{StreamID: "s", Description: "demo", RoleARN: role, Files: []File{
		{0, Location{"b", "app", "v1"}}, {7, Location{"b", "late", ""}}}})
	require.NoError(t, err)
	return s, st
}

func encode(t testing.TB, m map[string]any) []byte {
	b, err := cbor.Marshal(m)
	require.NoError(t, err)
	return b
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

// indexes are the block indexes of data messages, or the code of a rejection.
func indexes(t testing.TB, replies []Reply) string {
	var out []string
	for _, r := range replies {
		var m map[string]any
		if strings.HasSuffix(r.Topic, "cbor") {
			require.NoError(t, cbor.Unmarshal(r.Payload, &m))
		} else {
			require.NoError(t, json.Unmarshal(r.Payload, &m))
		}
		if strings.HasPrefix(r.Topic, "rejected/") {
			require.Equal(t, m["o"], m["code"])
			require.Equal(t, m["m"], m["message"])
			return fmt.Sprint(m["o"])
		}
		out = append(out, fmt.Sprint(m["i"]))
	}
	return strings.Join(out, " ")
}

// The bytes that the C agent sends and what is recommended to answer.
func TestAgentBytes(t *testing.T) {
	s, st := service(t, Switches{})
	request := unhex("A6 61 63 63 72 64 79 61 66 00 61 6C 19 10 00 61 6F 00 61 62 43 FE FF 0F 61 6E 01")
	out := s.Handle(nil, "s", "get/cbor", request)
	require.Len(t, out, 1)
	require.Equal(t, "data/cbor", out[0].Topic)
	data := filled(20*4096 - 100)
	want := append(unhex("BF 61 63 63 72 64 79 61 66 00 61 6C 19 10 00 61 69 01 61 70 59 10 00"), data[4096:8192]...)
	require.Equal(t, append(want, 0xff), out[0].Payload)
	require.Len(t, out[0].Payload, 4120, "as seen from AWS at a low index")

	again := s.Handle(nil, "s", "get/cbor", request)
	require.Same(t, &out[0].Payload[0], &again[0].Payload[0], "built once, shared")
	require.Equal(t, 1, st.gets, "the object is read once")

	last := s.Handle(nil, "s", "get/cbor", encode(t, map[string]any{"f": 0, "l": 4096, "o": 19, "n": 1}))
	var m struct {
		L int    `cbor:"l"`
		I int    `cbor:"i"`
		P []byte `cbor:"p"`
	}
	require.NoError(t, cbor.Unmarshal(last[0].Payload, &m))
	require.Equal(t, 4096-100, m.L)
	require.Equal(t, data[19*4096:], m.P)
	require.NotContains(t, string(last[0].Payload[:4]), "c", "no token, no c")
}

func TestSelection(t *testing.T) {
	type req = map[string]any
	bitmap := func(s string) []byte { return unhex(s) }
	for _, c := range []struct {
		name string
		req  req
		want string
	}{
		{"count", req{"f": 0, "l": 4096, "o": 3, "n": 2}, "3 4"},
		{"the guide's bitmap, blocks 20, 21, 24, 43 at offset 20", req{"f": 0, "l": 512, "o": 20, "b": bitmap("130080"), "n": 9}, "20 21 24 43"},
		{"bitmap bounded by n", req{"f": 0, "l": 4096, "b": bitmap("ffffff"), "n": 3}, "0 1 2"},
		{"bits beyond the file are skipped", req{"f": 0, "l": 4096, "o": 18, "b": bitmap("ff"), "n": 8}, "18 19"},
		{"whole file", req{"f": 0, "l": 16384, "o": 0, "n": 5}, "0 1 2 3 4"},
		{"all in one", req{"f": 0, "l": 8192, "b": bitmap("ffff"), "n": 98304}, "0 1 2 3 4 5 6 7 8 9"},
		{"largest block", req{"f": 0, "l": 131072, "n": 1}, "0"},
		{"nothing wanted", req{"f": 0, "l": 4096, "n": 0}, ""},
		{"version given", req{"f": 0, "l": 4096, "n": 1, "s": 1}, "0"},
		{"unversioned object", req{"f": 7, "l": 256, "n": 4}, "0 1 2 3"},

		{"default count beyond the file, bitmap or not", req{"f": 0, "l": 2048, "b": bitmap("ff")}, InvalidRequest},
		{"default count within the file", req{"f": 0, "l": 8192, "b": bitmap("05")}, InvalidRequest},
		{"count beyond the file", req{"f": 0, "l": 4096, "o": 19, "n": 2}, InvalidRequest},
		{"offset beyond the file", req{"f": 0, "l": 4096, "o": 20, "n": 1}, InvalidRequest},
		{"bitmap beyond the file", req{"f": 0, "l": 4096, "o": 18, "b": bitmap("fc"), "n": 1}, InvalidRequest},
		{"no file", req{"l": 4096, "n": 1}, InvalidRequest},
		{"no size", req{"f": 0, "n": 1}, InvalidRequest},
		{"file out of range", req{"f": 256, "l": 4096, "n": 1}, InvalidRequest},
		{"absent file", req{"f": 9, "l": 4096, "n": 1}, ResourceNotFound},
		{"small block", req{"f": 0, "l": 255, "n": 1}, BlockSizeOutOfBounds},
		{"large block", req{"f": 0, "l": 131073, "n": 1}, BlockSizeOutOfBounds},
		{"negative offset", req{"f": 0, "l": 4096, "o": -1, "n": 1}, OffsetOutOfBounds},
		{"large offset", req{"f": 0, "l": 4096, "o": 98305, "n": 1}, OffsetOutOfBounds},
		{"large count", req{"f": 0, "l": 4096, "n": 98305}, BlockCountLimitExceeded},
		{"long bitmap", req{"f": 0, "l": 4096, "n": 1, "b": make([]byte, 12289)}, BlockBitmapLimitExceeded},
		{"long token", req{"f": 0, "l": 4096, "n": 1, "c": strings.Repeat("x", 65)}, InvalidRequest},
		{"other version", req{"f": 0, "l": 4096, "n": 1, "s": 2}, VersionMismatch},
		{"text bitmap", req{"f": 0, "l": 4096, "n": 1, "b": "ff"}, InvalidCBOR},
	} {
		s, _ := service(t, Switches{})
		require.Equal(t, c.want, indexes(t, s.Handle(nil, "s", "get/cbor", encode(t, c.req))), c.name)

		js := req{}
		for k, v := range c.req {
			if b, ok := v.([]byte); ok {
				v = "0x" + hex.EncodeToString(b)
			}
			js[k] = v
		}
		body, err := json.Marshal(js)
		require.NoError(t, err)
		if c.want != InvalidCBOR {
			require.Equal(t, c.want, indexes(t, s.Handle(nil, "s", "get/json", body)), "%s, JSON", c.name)
		}
	}
	s, _ := service(t, Switches{Lenient: true})
	require.Equal(t, "0 2", indexes(t, s.Handle(nil, "s", "get/cbor", encode(t, req{"f": 0, "l": 4096, "b": bitmap("05")}))))
	require.Equal(t, "18 19", indexes(t, s.Handle(nil, "s", "get/cbor", encode(t, req{"f": 0, "l": 4096, "o": 18}))))
	for _, body := range [][]byte{nil, {0xff}, {0xa1, 0x61, 'f'}, unhex("a2616600616600"), unhex("a1616663313233"), []byte("[]"), unhex("a1616c1bffffffffffffffff")} {
		require.Equal(t, InvalidCBOR, indexes(t, s.Handle(nil, "s", "get/cbor", body)), "%x", body)
	}
	for _, body := range []string{"", "{", `{"f":"0"}`, "\xff", `{"l":1.5}`} {
		require.Equal(t, InvalidJSON, indexes(t, s.Handle(nil, "s", "get/json", []byte(body))), body)
	}
	require.Equal(t, InvalidRequest, indexes(t, s.Handle(nil, "s", "get/json", []byte(`{"f":0,"l":256,"n":1,"b":"0xzz"}`))))
	require.Equal(t, ResourceNotFound, indexes(t, s.Handle(nil, "none", "get/cbor", encode(t, req{"f": 0, "l": 4096, "n": 1}))))
	require.Equal(t, InvalidTopic, indexes(t, s.Handle(nil, "s", "fetch/cbor", nil)))
	require.Equal(t, InvalidTopic, indexes(t, s.Handle(nil, "s", "fetch/json", nil)))
}

func TestJSONData(t *testing.T) {
	s, _ := service(t, Switches{})
	out := s.Handle(nil, "s", "get/json", []byte(`{"c":"t\"k","f":7,"l":512,"o":1,"n":1}`))
	require.Equal(t, "data/json", out[0].Topic)
	var m struct {
		C       string
		F, L, I int
		P       []byte
	}
	require.NoError(t, json.Unmarshal(out[0].Payload, &m))
	require.Equal(t, filled(1000)[512:], m.P)
	require.Equal(t, []any{"t\"k", 7, 488, 1}, []any{m.C, m.F, m.L, m.I})
}

func TestDescribe(t *testing.T) {
	s, _ := service(t, Switches{})
	out := s.Handle(nil, "s", "describe/json", []byte(`{"c":"x"}`))
	require.Equal(t, `description/json {"c":"x","s":1,"d":"demo","r":[{"f":0,"z":81820},{"f":7,"z":1000}]}`, out[0].Topic+" "+string(out[0].Payload))
	out = s.Handle(nil, "s", "describe/cbor", encode(t, map[string]any{"c": "x"}))
	text, err := cbor.Diagnose(out[0].Payload)
	require.NoError(t, err)
	require.Equal(t, `description/cbor {_ "c": "x", "s": 1, "d": "demo", "r": [{"f": 0, "z": 81820}, {"f": 7, "z": 1000}]}`, out[0].Topic+" "+text)
	require.Equal(t, ResourceNotFound, indexes(t, s.Handle(nil, "none", "describe/cbor", encode(t, map[string]any{}))))
}

func TestRejectionBytes(t *testing.T) {
	s, _ := service(t, Switches{})
	out := s.Handle(nil, "none", "get/cbor", encode(t, map[string]any{"c": "x", "f": 0, "l": 4096, "n": 1}))
	text, err := cbor.Diagnose(out[0].Payload)
	require.NoError(t, err)
	require.Equal(t, `{_ "code": "ResourceNotFound", "o": "ResourceNotFound", "message": "The stream cannot be found.", "m": "The stream cannot be found.", "clientToken": "x", "c": "x"}`, text)
}

func TestChangedObject(t *testing.T) {
	s, st := service(t, Switches{})
	body := encode(t, map[string]any{"f": 7, "l": 256, "n": 1})
	require.Equal(t, "0", indexes(t, s.Handle(nil, "s", "get/cbor", body)))
	st.objects["b/late@"] = Object{filled(2000), "e3"}
	require.Equal(t, ETagMismatch, indexes(t, s.Handle(nil, "s", "get/cbor", body)))
	_, err := s.UpdateStream(epoch, CreateRequest{StreamID: "s", Files: []File{{7, Location{"b", "late", ""}}}})
	require.NoError(t, err)
	require.Equal(t, "0", indexes(t, s.Handle(nil, "s", "get/cbor", body)))
	delete(st.objects, "b/late@")
	require.Equal(t, ResourceNotFound, indexes(t, s.Handle(nil, "s", "get/cbor", body)))
}

func TestControlPlane(t *testing.T) {
	s, st := service(t, Switches{})
	_, err := s.CreateStream(epoch, CreateRequest{StreamID: "s", RoleARN: role, Files: []File{{0, Location{"b", "app", "v1"}}}})
	require.ErrorIs(t, err, aws.ResourceAlreadyExists)
	for name, r := range map[string]CreateRequest{
		"id":     {StreamID: "a b", RoleARN: role, Files: []File{{0, Location{"b", "app", "v1"}}}},
		"role":   {StreamID: "x", RoleARN: "short", Files: []File{{0, Location{"b", "app", "v1"}}}},
		"files":  {StreamID: "x", RoleARN: role},
		"fileId": {StreamID: "x", RoleARN: role, Files: []File{{256, Location{"b", "app", "v1"}}}},
		"twice":  {StreamID: "x", RoleARN: role, Files: []File{{1, Location{"b", "app", "v1"}}, {1, Location{"b", "app", "v1"}}}},
	} {
		_, err := s.CreateStream(epoch, r)
		require.ErrorIs(t, err, aws.InvalidRequest, name)
	}
	_, err = s.CreateStream(epoch, CreateRequest{StreamID: "x", RoleARN: role, Files: []File{{0, Location{"b", "none", ""}}}})
	require.ErrorIs(t, err, aws.ResourceNotFound)
	st.objects["b/big@v"] = Object{make([]byte, MaxFile+1), "e"}
	_, err = s.CreateStream(epoch, CreateRequest{StreamID: "x", RoleARN: role, Files: []File{{0, Location{"b", "big", "v"}}}})
	require.ErrorIs(t, err, aws.LimitExceeded)

	u, err := s.UpdateStream(epoch.Add(time.Hour), CreateRequest{StreamID: "s", Description: "new"})
	require.NoError(t, err)
	require.Equal(t, 2, u.StreamVersion)
	info, err := s.DescribeStream("s")
	require.NoError(t, err)
	require.Equal(t, "new", info.Description)
	require.Len(t, info.Files, 2)
	require.Equal(t, []string{"s"}, s.ListStreams())
	require.NoError(t, s.DeleteStream("s"))
	require.ErrorIs(t, s.DeleteStream("s"), aws.ResourceNotFound)
}

// The tables that remember requests and messages may be dropped at any time.
func TestMemoryIsBounded(t *testing.T) {
	s, _ := service(t, Switches{})
	for i := range maxRequests + 10 {
		body := encode(t, map[string]any{"c": fmt.Sprint(i), "f": 0, "l": 65536, "n": 1})
		require.Equal(t, "0", indexes(t, s.Handle(nil, "s", "get/cbor", body)))
		require.LessOrEqual(t, len(s.requests), maxRequests)
		require.LessOrEqual(t, s.held, maxHeld)
	}
}

func FuzzCBOR(f *testing.F) {
	f.Add(unhex("A661636372647961660061 6C19100061 6F00616243FEFF0F616E01"))
	f.Add(unhex("a1616300"))
	f.Add(unhex("bf616c190100ff"))
	f.Fuzz(func(t *testing.T, body []byte) { fuzz(t, "cbor", body) })
}

func FuzzJSON(f *testing.F) {
	f.Add([]byte(`{"c":"rdy","f":0,"l":4096,"o":0,"b":"0xfeff0f","n":1}`))
	f.Add([]byte(`{"s":1}`))
	f.Fuzz(func(t *testing.T, body []byte) { fuzz(t, "json", body) })
}

func fuzz(t *testing.T, format string, body []byte) {
	for _, sw := range []Switches{{}, {Lenient: true}} {
		s, _ := service(t, sw)
		for _, op := range []string{"get/", "describe/"} {
			first := s.Handle(nil, "s", op+format, body)
			sum := 0
			for _, r := range first {
				var m struct {
					P []byte `cbor:"p" json:"p"`
					I int    `cbor:"i" json:"i"`
				}
				if strings.HasPrefix(r.Topic, "data/") {
					if format == "cbor" {
						require.NoError(t, cbor.Unmarshal(r.Payload, &m))
					} else {
						require.NoError(t, json.Unmarshal(r.Payload, &m))
					}
					require.NotEmpty(t, m.P)
					sum += len(m.P)
				} else if format == "cbor" {
					require.NoError(t, cbor.Wellformed(r.Payload))
				} else {
					require.True(t, json.Valid(r.Payload), "%q", r.Payload)
				}
			}
			require.LessOrEqual(t, sum, MaxPerRequest)
			require.Equal(t, first, s.Handle(nil, "s", op+format, body))
		}
	}
}

func TestBudgetOfOneRequest(t *testing.T) {
	s, st := service(t, Switches{})
	st.objects["b/big@v"] = Object{filled(5 * 65536), "e"}
	_, err := s.CreateStream(epoch, CreateRequest{StreamID: "big", RoleARN: role, Files: []File{{0, Location{"b", "big", "v"}}}})
	require.NoError(t, err)
	for _, c := range []struct {
		size, count int
		bitmap      []byte
		want        string
	}{
		{65536, 5, nil, "0 1"},
		{65536, 5, []byte{0x1a}, "1 3"},
		{100_000, 3, nil, "0"},
		{131072, 2, nil, "0"},
		{32768, 9, nil, "0 1 2 3"},
		{4096, 80, nil, "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31"},
	} {
		m := map[string]any{"f": 0, "l": c.size, "n": c.count}
		if c.bitmap != nil {
			m["b"] = c.bitmap
		}
		require.Equal(t, c.want, indexes(t, s.Handle(nil, "big", "get/cbor", encode(t, m))), "%v", m)
	}
	// Without n the default of 131072/l counts: it fits here.
	require.Equal(t, "1 3", indexes(t, s.Handle(nil, "big", "get/cbor", encode(t, map[string]any{"f": 0, "l": 65536, "b": []byte{0x0a}}))))
}
