package streams

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math/bits"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"

	"github.com/otasim/otasim/cloud/defect"
	"github.com/otasim/otasim/cloud/quota"
)

// Codes of rejected requests.
const (
	InvalidTopic             = "InvalidTopic"
	InvalidJSON              = "InvalidJson"
	InvalidCBOR              = "InvalidCbor"
	InvalidRequest           = "InvalidRequest"
	BlockSizeOutOfBounds     = "BlockSizeOutOfBounds"
	OffsetOutOfBounds        = "OffsetOutOfBounds"
	BlockCountLimitExceeded  = "BlockCountLimitExceeded"
	BlockBitmapLimitExceeded = "BlockBitmapLimitExceeded"
	ResourceNotFound         = "ResourceNotFound"
	VersionMismatch          = "VersionMismatch"
	ETagMismatch             = "ETagMismatch"
	Unauthorized             = "Unauthorized"
	InternalError            = "InternalError"
)

// Reply is one message to the requesting thing: Topic is what follows
// $aws/things/T/streams/S/, for example "data/cbor". Payload is immutable.
type Reply struct {
	Topic   string
	Payload []byte
	Delay   time.Duration // until it is sent
}

// request is a decoded GetStream or DescribeStream request.
type request struct {
	token   string
	version *int64
	file    *int64
	size    *int64
	offset  int64
	count   *int64
	bitmap  []byte
	err     *rejection // what is wrong with the request itself
}

type rejection struct{ code, message string }

// content is one immutable object.
type content struct {
	data []byte
	etag string
	id   uint32
}

type messageKey struct {
	token   string
	content uint32
	size    uint32
	block   uint32
	file    uint16
	json    bool
}

const (
	maxRequests = 4096     // decoded requests remembered
	maxHeld     = 64 << 20 // bytes of data messages remembered
)

var strict = func() cbor.DecMode {
	m, err := cbor.DecOptions{DupMapKey: cbor.DupMapKeyEnforcedAPF, MaxNestedLevels: 4, MaxArrayElements: 16, MaxMapPairs: 16,
		IndefLength: cbor.IndefLengthAllowed, UTF8: cbor.UTF8RejectInvalid, FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
		TagsMd: cbor.TagsForbidden}.DecMode()
	if err != nil {
		panic(err) // the options are constants
	}
	return m
}()

// wireRequest has the short names of both formats.
type wireRequest struct {
	Token   *string `cbor:"c" json:"c"`
	Version *int64  `cbor:"s" json:"s"`
	File    *int64  `cbor:"f" json:"f"`
	Size    *int64  `cbor:"l" json:"l"`
	Offset  *int64  `cbor:"o" json:"o"`
	Count   *int64  `cbor:"n" json:"n"`
	Bitmap  *[]byte `cbor:"b" json:"-"`
	Hex     *string `cbor:"-" json:"b"`
}

// Handle answers a publish on $aws/things/THING/streams/STREAM/REST and appends
// what is to be published. Only get/FMT and describe/FMT are requests.
func (s *Service) Handle(out []Reply, id, rest string, payload []byte) []Reply {
	switch rest {
	case "get/cbor":
		return s.get(out, id, s.decodeCBOR(payload), false)
	case "get/json":
		return s.get(out, id, decodeJSON(payload), true)
	case "describe/cbor":
		return s.describe(out, id, s.decodeCBOR(payload), false)
	case "describe/json":
		return s.describe(out, id, decodeJSON(payload), true)
	}
	return reject(out, &request{}, strings.HasSuffix(rest, "/json"), InvalidTopic, "The topic does not map to a known API.")
}

// Refuse answers a request with an error of the caller's, without carrying it
// out.
func (s *Service) Refuse(out []Reply, rest string, payload []byte, code, message string) []Reply {
	js := strings.HasSuffix(rest, "/json")
	var r *request
	if js {
		r = decodeJSON(payload)
	} else {
		r = s.decodeCBOR(payload)
	}
	return reject(out, r, js, code, message)
}

// SetProbe makes a check come before each block request, of the object that it
// is about; nil: none.
func (s *Service) SetProbe(probe func(Location) error) { s.probe = probe }

// decodeCBOR decodes a request, or remembers it: a fleet that downloads one
// image sends the same few hundred bodies over and over.
func (s *Service) decodeCBOR(payload []byte) *request {
	if r := s.requests[string(payload)]; r != nil {
		return r
	}
	var w wireRequest
	r := &request{}
	if err := strict.Unmarshal(payload, &w); err != nil {
		r.err = &rejection{InvalidCBOR, "The request body is not valid CBOR."}
	} else {
		if w.Bitmap != nil {
			r.bitmap = *w.Bitmap
		}
		r.fill(&w, w.Bitmap != nil)
	}
	if len(s.requests) >= maxRequests {
		clear(s.requests)
	}
	if len(payload) <= MaxBitmap+256 {
		s.requests[string(payload)] = r
	}
	return r
}

func decodeJSON(payload []byte) *request {
	var w wireRequest
	r := &request{}
	if !utf8.Valid(payload) || json.Unmarshal(payload, &w) != nil {
		r.err = &rejection{InvalidJSON, "The request body is not valid JSON."}
		return r
	}
	if w.Hex != nil {
		b, err := hex.DecodeString(strings.TrimPrefix(*w.Hex, "0x"))
		if err != nil {
			r.err = &rejection{InvalidRequest, "The bitmap is not a hexadecimal string."}
			return r
		}
		r.bitmap = b
	}
	r.fill(&w, w.Hex != nil)
	return r
}

// fill takes the members over and checks what needs no stream.
func (r *request) fill(w *wireRequest, bitmap bool) {
	if w.Token != nil {
		if len(*w.Token) > maxToken {
			r.err = &rejection{InvalidRequest, "The client token is longer than 64 bytes."}
			return
		}
		r.token = *w.Token
	}
	r.version, r.file, r.size, r.count = w.Version, w.File, w.Size, w.Count
	if w.Offset != nil {
		r.offset = *w.Offset
	}
	if bitmap && r.bitmap == nil {
		r.bitmap = []byte{}
	}
}

// request notes what a request asks for, and what of it no request may.
func (u *uses) request(r *request) {
	see := func(p *quota.Peak, n, limit int64) {
		if p.See(n); n > limit {
			p.Refused++
		}
	}
	if r.size != nil {
		see(&u.block, *r.size, MaxBlock)
	}
	if r.count != nil {
		see(&u.count, *r.count, MaxOffset)
	}
	see(&u.offset, r.offset, MaxOffset)
	see(&u.bitmap, int64(len(r.bitmap)), MaxBitmap)
}

// check validates the ranges of a GetStream request.
func (r *request) check() *rejection {
	switch {
	case r.err != nil:
		return r.err
	case r.file == nil || *r.file < 0 || *r.file > 255:
		return &rejection{InvalidRequest, "The file id is required and must be from 0 to 255."}
	case r.size == nil:
		return &rejection{InvalidRequest, "The block size is required."}
	case *r.size < MinBlock || *r.size > MaxBlock:
		return &rejection{BlockSizeOutOfBounds, "The block size must be from 256 to 131072."}
	case r.offset < 0 || r.offset > MaxOffset:
		return &rejection{OffsetOutOfBounds, "The block offset must be from 0 to 98304."}
	case r.count != nil && (*r.count < 0 || *r.count > MaxOffset):
		return &rejection{BlockCountLimitExceeded, "The number of blocks must be from 0 to 98304."}
	case len(r.bitmap) > MaxBitmap:
		return &rejection{BlockBitmapLimitExceeded, "The block bitmap must not exceed 12288 bytes."}
	}
	return nil
}

// open finds a file's content, reading the object when it is not at hand.
func (s *Service) open(st *stream, id int64) (*content, *rejection) {
	var f *file
	for i := range st.files {
		if int64(st.files[i].id) == id {
			f = &st.files[i]
		}
	}
	if f == nil {
		return nil, &rejection{ResourceNotFound, "The stream has no such file."}
	}
	if f.content != nil {
		return f.content, nil
	}
	if f.loc.Version == "" { // the latest object may have changed since
		_, etag, err := s.source.Head(f.loc.Bucket, f.loc.Key, "")
		if err != nil {
			return nil, &rejection{ResourceNotFound, "The object of the file cannot be found."}
		}
		if etag != f.etag {
			return nil, &rejection{ETagMismatch, "The object has changed since the stream was written."}
		}
	}
	key := f.loc
	if key.Version == "" {
		key.Version = "etag " + f.etag
	}
	c := s.objects[key]
	if c == nil {
		o, err := s.source.Get(f.loc.Bucket, f.loc.Key, f.loc.Version)
		if err != nil {
			return nil, &rejection{ResourceNotFound, "The object of the file cannot be found."}
		}
		if o.ETag != f.etag {
			return nil, &rejection{ETagMismatch, "The object has changed since the stream was written."}
		}
		c = &content{data: o.Data, etag: o.ETag, id: uint32(len(s.objects))}
		s.objects[key] = c
	}
	if f.loc.Version != "" {
		f.content = c
	}
	return c, nil
}

// get chooses blocks and appends their data messages in ascending order.
func (s *Service) get(out []Reply, id string, r *request, js bool) []Reply {
	s.uses.request(r)
	if e := r.check(); e != nil {
		return reject(out, r, js, e.code, e.message)
	}
	st := s.streams[id]
	if st == nil {
		return reject(out, r, js, ResourceNotFound, "The stream cannot be found.")
	}
	if r.version != nil && *r.version != int64(st.info.StreamVersion) {
		return reject(out, r, js, VersionMismatch, "The stream version does not match.")
	}
	if s.probe != nil {
		for _, f := range st.files {
			if int64(f.id) != *r.file {
				continue
			}
			if err := s.probe(f.loc); err != nil {
				return reject(out, r, js, InternalError, "The object of the file cannot be read.")
			}
		}
	}
	c, e := s.open(st, *r.file)
	if e != nil {
		return reject(out, r, js, e.code, e.message)
	}
	size := int(*r.size)
	blocks := (len(c.data) + size - 1) / size
	first, want := int(r.offset), MaxPerRequest/size
	if r.count != nil {
		want = int(*r.count)
	}
	// The service holds a count that bounds no bitmap against the file; the
	// default count it holds against the file even beside a bitmap.
	bounded := r.bitmap != nil && r.count != nil
	if first >= blocks || !bounded && first+want > blocks && !s.switches.Lenient {
		return reject(out, r, js, InvalidRequest, "The requested data is outside the range of the file.")
	}
	budget, sent := MaxPerRequest, 0
	topic := "data/cbor"
	if js {
		topic = "data/json"
	}
	add := func(block int) bool {
		n := min(size, len(c.data)-block*size)
		if sent == want || n > budget {
			return false
		}
		budget -= n
		sent++
		out = append(out, Reply{Topic: topic, Payload: s.message(c, r.token, int(*r.file), size, block, js)})
		return true
	}
	defer func() { s.uses.data.See(int64(MaxPerRequest - budget)) }()
	if r.bitmap == nil || s.defects.Has(defect.BitmapIgnored) {
		for block := first; block < blocks && add(block); block++ {
		}
		return out
	}
	for i := 0; i < len(r.bitmap); i++ {
		for b := r.bitmap[i]; b != 0; b &= b - 1 {
			block := first + 8*i + bits.TrailingZeros8(b)
			if block >= blocks || !add(block) {
				i = len(r.bitmap)
				break
			}
		}
	}
	if sent == 0 && want > 0 {
		return reject(out, r, js, InvalidRequest, "The bitmap selects no block of the file.")
	}
	return out
}

// message returns the encoded data message of one block.
func (s *Service) message(c *content, token string, file, size, block int, js bool) []byte {
	key := messageKey{token, c.id, uint32(size), uint32(block), uint16(file), js}
	if m := s.messages[key]; m != nil {
		return m
	}
	data := c.data[block*size : min((block+1)*size, len(c.data))]
	if s.defects.Has(defect.ShortBlock) {
		data = data[:len(data)-1]
	}
	var m []byte
	if js {
		m = append(make([]byte, 0, 96+base64.StdEncoding.EncodedLen(len(data))), '{')
		if token != "" {
			m = append(appendJSON(append(m, `"c":`...), token), ',')
		}
		m = strconv.AppendInt(append(m, `"f":`...), int64(file), 10)
		m = strconv.AppendInt(append(m, `,"l":`...), int64(len(data)), 10)
		m = strconv.AppendInt(append(m, `,"i":`...), int64(block), 10)
		m = base64.StdEncoding.AppendEncode(append(m, `,"p":"`...), data)
		m = append(m, '"', '}')
	} else {
		open := byte(0xbf)
		if s.switches.DefiniteData {
			open = 0xa4
			if token != "" {
				open = 0xa5
			}
		}
		m = append(make([]byte, 0, 48+len(token)+len(data)), open)
		if token != "" {
			m = appendText(append(m, 0x61, 'c'), token)
		}
		m = appendHead(append(m, 0x61, 'f'), 0, uint64(file))
		m = appendHead(append(m, 0x61, 'l'), 0, uint64(len(data)))
		m = appendHead(append(m, 0x61, 'i'), 0, uint64(block))
		m = append(appendHead(append(m, 0x61, 'p'), 2, uint64(len(data))), data...)
		if open == 0xbf {
			m = append(m, 0xff)
		}
	}
	if s.held += len(m); s.held > maxHeld {
		clear(s.messages)
		s.held = len(m)
	}
	s.messages[key] = m
	return m
}

func (s *Service) describe(out []Reply, id string, r *request, js bool) []Reply {
	if r.err != nil {
		return reject(out, r, js, r.err.code, r.err.message)
	}
	st := s.streams[id]
	if st == nil {
		return reject(out, r, js, ResourceNotFound, "The stream cannot be found.")
	}
	if js {
		m := []byte{'{'}
		if r.token != "" {
			m = append(appendJSON(append(m, `"c":`...), r.token), ',')
		}
		m = strconv.AppendInt(append(m, `"s":`...), int64(st.info.StreamVersion), 10)
		m = append(appendJSON(append(m, `,"d":`...), st.info.Description), `,"r":[`...)
		for i, f := range st.files {
			if i > 0 {
				m = append(m, ',')
			}
			m = strconv.AppendInt(append(m, `{"f":`...), int64(f.id), 10)
			m = append(strconv.AppendInt(append(m, `,"z":`...), f.size, 10), '}')
		}
		return append(out, Reply{Topic: "description/json", Payload: append(m, ']', '}')})
	}
	m := []byte{0xbf}
	if r.token != "" {
		m = appendText(append(m, 0x61, 'c'), r.token)
	}
	m = appendHead(append(m, 0x61, 's'), 0, uint64(st.info.StreamVersion))
	m = appendText(append(m, 0x61, 'd'), st.info.Description)
	m = appendHead(append(m, 0x61, 'r'), 4, uint64(len(st.files)))
	for _, f := range st.files {
		m = appendHead(append(m, 0xa2, 0x61, 'f'), 0, uint64(f.id))
		m = appendHead(append(m, 0x61, 'z'), 0, uint64(f.size))
	}
	return append(out, Reply{Topic: "description/cbor", Payload: append(m, 0xff)})
}

// reject appends a rejection with the long and the short names of its members.
func reject(out []Reply, r *request, js bool, code, message string) []Reply {
	if js {
		m := appendJSON([]byte(`{"code":`), code)
		m = appendJSON(append(m, `,"o":`...), code)
		m = appendJSON(append(m, `,"message":`...), message)
		m = appendJSON(append(m, `,"m":`...), message)
		if r.token != "" {
			m = appendJSON(append(m, `,"clientToken":`...), r.token)
			m = appendJSON(append(m, `,"c":`...), r.token)
		}
		return append(out, Reply{Topic: "rejected/json", Payload: append(m, '}')})
	}
	m := []byte{0xbf}
	pair := func(long, short, value string) {
		m = appendText(appendText(m, long), value)
		m = appendText(appendText(m, short), value)
	}
	pair("code", "o", code)
	pair("message", "m", message)
	if r.token != "" {
		pair("clientToken", "c", r.token)
	}
	return append(out, Reply{Topic: "rejected/cbor", Payload: append(m, 0xff)})
}

// appendHead writes a CBOR head in its shortest form.
func appendHead(b []byte, major byte, v uint64) []byte {
	major <<= 5
	switch {
	case v < 24:
		return append(b, major|byte(v))
	case v < 1<<8:
		return append(b, major|24, byte(v))
	case v < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, major|25), uint16(v))
	default:
		return binary.BigEndian.AppendUint32(append(b, major|26), uint32(v))
	}
}

func appendText(b []byte, s string) []byte { return append(appendHead(b, 3, uint64(len(s))), s...) }

// appendJSON writes s as a JSON string.
func appendJSON(b []byte, s string) []byte {
	q, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string always encodes
	}
	return append(b, q...)
}
