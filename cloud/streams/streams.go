// Package streams is AWS IoT's file delivery over MQTT: a stream names objects
// of a bucket, and devices ask for their blocks by bitmap or by count.
//
//	request   (CBOR)  {"c": token, "f": file, "l": block size, "o": offset, "b": bitmap, "n": count}
//	data      (CBOR)  BF "c" token, "f" file, "l" payload length, "i" block index, "p" payload FF
//	rejected  (CBOR)  BF "o" code, "m" message, "c" token and their long names FF
//
// An object is read once, by an S3 GET of bucket, key and version, and kept; a
// data message is built once for each (object, file, block size, block, token)
// and shared by all who ask for it.
//
// Sources: AWS IoT Core Developer Guide, page
// mqtt-based-file-delivery-in-devices; API model iot/2015-05-28; the requests
// of aws/ota-for-aws-iot-embedded-sdk (source/ota_cbor.c).
package streams

import (
	"slices"
	"time"

	"github.com/otasim/otasim/cloud/aws"
	"github.com/otasim/otasim/cloud/defect"
	"github.com/otasim/otasim/cloud/quota"
)

// Limits of file delivery that no account can raise.
const (
	MaxFile       = 24 << 20 // bytes of one file
	MinBlock      = 256
	MaxBlock      = 131072
	MaxOffset     = 98304 // blocks
	MaxBitmap     = 12288 // bytes
	MaxPerRequest = 131072
	maxToken      = 64
	maxFiles      = 50 // without Limit
)

// Object is one version of an object of a bucket.
type Object struct {
	Data []byte // immutable
	ETag string
}

// Source reads objects. An empty version is the latest.
type Source interface {
	Get(bucket, key, version string) (Object, error)
	Head(bucket, key, version string) (size int64, etag string, err error)
}

// Switches choose among readings of the documentation. The zero value is the
// documented default.
type Switches struct {
	// Lenient clips a default block count to the file instead of refusing it.
	Lenient bool
	// DefiniteData writes data messages as maps of definite length.
	DefiniteData bool
}

// Location is where a file is.
type Location struct {
	Bucket  string `json:"bucket"`
	Key     string `json:"key"`
	Version string `json:"version,omitempty"`
}

// File is one file of a stream.
type File struct {
	FileID     int      `json:"fileId"`
	S3Location Location `json:"s3Location"`
}

// Info is what DescribeStream tells.
type Info struct {
	StreamID      string        `json:"streamId"`
	StreamARN     string        `json:"streamArn"`
	StreamVersion int           `json:"streamVersion"`
	Description   string        `json:"description,omitempty"`
	Files         []File        `json:"files"`
	CreatedAt     aws.Timestamp `json:"createdAt"`
	LastUpdatedAt aws.Timestamp `json:"lastUpdatedAt"`
	RoleARN       string        `json:"roleArn"`
}

// CreateRequest is the body of CreateStream and UpdateStream.
type CreateRequest struct {
	StreamID    string `json:"streamId"`
	Description string `json:"description,omitempty"`
	Files       []File `json:"files"`
	RoleARN     string `json:"roleArn"`
}

// Response answers CreateStream and UpdateStream.
type Response struct {
	StreamID      string `json:"streamId"`
	StreamARN     string `json:"streamArn"`
	Description   string `json:"description,omitempty"`
	StreamVersion int    `json:"streamVersion"`
}

// stream is one stream with what has been learned of its files.
type stream struct {
	info  Info
	files []file
}

type file struct {
	id      int
	loc     Location
	size    int64
	etag    string
	content *content // nil until read; only for a fixed version
}

// Service is the state of all streams of one account. It is not safe for
// concurrent use.
type Service struct {
	realm    aws.Realm
	source   Source
	switches Switches
	streams  map[string]*stream
	order    []*stream
	objects  map[Location]*content
	requests map[string]*request // decoded CBOR requests by content
	messages map[messageKey][]byte
	held     int // bytes of messages
	probe    func(Location) error
	limit    int // streams, 0 = none
	perEach  int // files of one, 0 = none
	defects  defect.Set
	uses     uses
}

// uses are the peaks of what was asked for, refused or not.
type uses struct {
	streams, files, file               quota.Peak
	block, offset, count, bitmap, data quota.Peak // of one request
}

// Uses adds what was used of the quotas of streams.
func (s *Service) Uses(out map[quota.Name]quota.Peak) {
	u := &s.uses
	out[quota.Streams], out[quota.FilesPerStream], out[quota.StreamFile] = u.streams, u.files, u.file
	out[quota.BlockSizeMax], out[quota.BlockOffset], out[quota.BlockCount] = u.block, u.offset, u.count
	out[quota.BlockBitmap], out[quota.DataPerRequest] = u.bitmap, u.data
}

// Plant plants defects, to test checkers.
func (s *Service) Plant(d defect.Set) { s.defects = d }

// New returns a service without streams.
func New(realm aws.Realm, source Source, sw Switches) *Service {
	return &Service{realm: realm, source: source, switches: sw, streams: map[string]*stream{}, objects: map[Location]*content{},
		requests: map[string]*request{}, messages: map[messageKey][]byte{}, perEach: maxFiles}
}

// Limit bounds the number of streams and of files of one stream; 0 is no bound.
func (s *Service) Limit(streams, files int) { s.limit, s.perEach = streams, files }

func (s *Service) files(list []File) ([]file, error) {
	s.uses.files.See(int64(len(list)))
	switch {
	case len(list) == 0:
		return nil, aws.InvalidRequest.Because("files: at least one is required")
	case s.perEach > 0 && len(list) > s.perEach:
		s.uses.files.Refused++
		return nil, aws.LimitExceeded.Because("files: %d, the limit is %d", len(list), s.perEach)
	}
	out := make([]file, 0, len(list))
	for _, f := range list {
		if f.FileID < 0 || f.FileID > 255 || slices.ContainsFunc(out, func(x file) bool { return x.id == f.FileID }) {
			return nil, aws.InvalidRequest.Because("fileId %d: want 0 to 255, each once", f.FileID)
		}
		if f.S3Location.Bucket == "" || f.S3Location.Key == "" {
			return nil, aws.InvalidRequest.Because("fileId %d: bucket and key are required", f.FileID)
		}
		size, etag, err := s.source.Head(f.S3Location.Bucket, f.S3Location.Key, f.S3Location.Version)
		if err != nil {
			return nil, aws.ResourceNotFound.Because("fileId %d: %v", f.FileID, err)
		}
		s.uses.file.See(size)
		if size > MaxFile {
			s.uses.file.Refused++
			return nil, aws.LimitExceeded.Because("fileId %d: %d bytes, the limit is %d", f.FileID, size, MaxFile)
		}
		out = append(out, file{id: f.FileID, loc: f.S3Location, size: size, etag: etag})
	}
	return out, nil
}

func checkRole(arn string) error {
	if len(arn) < 20 || len(arn) > 2048 {
		return aws.InvalidRequest.Because("roleArn: want 20 to 2048 characters")
	}
	return nil
}

// CreateStream makes a stream of version 1.
func (s *Service) CreateStream(now time.Time, req CreateRequest) (Response, error) {
	if !aws.Name(req.StreamID, 128, "") {
		return Response{}, aws.InvalidRequest.Because("streamId %q: want 1 to 128 of [a-zA-Z0-9_-]", req.StreamID)
	}
	if err := checkRole(req.RoleARN); err != nil {
		return Response{}, err
	}
	arn := s.realm.ARN("stream", req.StreamID)
	if s.streams[req.StreamID] != nil {
		return Response{}, aws.Exists("Stream", req.StreamID, arn)
	}
	s.uses.streams.See(int64(len(s.order) + 1))
	if s.limit > 0 && len(s.order) >= s.limit {
		s.uses.streams.Refused++
		return Response{}, aws.LimitExceeded.Because("%d streams exist already.", len(s.order))
	}
	files, err := s.files(req.Files)
	if err != nil {
		return Response{}, err
	}
	at := aws.At(now.UnixNano())
	st := &stream{files: files, info: Info{StreamID: req.StreamID, StreamARN: arn, StreamVersion: 1, Description: req.Description,
		Files: slices.Clone(req.Files), CreatedAt: at, LastUpdatedAt: at, RoleARN: req.RoleARN}}
	s.streams[req.StreamID] = st
	s.order = append(s.order, st)
	return st.response(), nil
}

func (st *stream) response() Response {
	return Response{st.info.StreamID, st.info.StreamARN, st.info.Description, st.info.StreamVersion}
}

func (s *Service) stream(id string) (*stream, error) {
	if st := s.streams[id]; st != nil {
		return st, nil
	}
	return nil, aws.ResourceNotFound.Because("Stream %s cannot be found.", id)
}

// UpdateStream changes what is given and raises the version by one.
func (s *Service) UpdateStream(now time.Time, req CreateRequest) (Response, error) {
	st, err := s.stream(req.StreamID)
	if err != nil {
		return Response{}, err
	}
	files := st.files
	if req.Files != nil {
		if files, err = s.files(req.Files); err != nil {
			return Response{}, err
		}
	}
	if req.RoleARN != "" {
		if err := checkRole(req.RoleARN); err != nil {
			return Response{}, err
		}
		st.info.RoleARN = req.RoleARN
	}
	if req.Description != "" {
		st.info.Description = req.Description
	}
	if req.Files != nil {
		st.info.Files, st.files = slices.Clone(req.Files), files
	}
	st.info.StreamVersion++
	st.info.LastUpdatedAt = aws.At(now.UnixNano())
	return st.response(), nil
}

// DescribeStream tells about a stream.
func (s *Service) DescribeStream(id string) (Info, error) {
	st, err := s.stream(id)
	if err != nil {
		return Info{}, err
	}
	info := st.info
	info.Files = slices.Clone(info.Files)
	return info, nil
}

// DeleteStream removes a stream.
func (s *Service) DeleteStream(id string) error {
	st, err := s.stream(id)
	if err != nil {
		return err
	}
	delete(s.streams, id)
	s.order = slices.DeleteFunc(s.order, func(x *stream) bool { return x == st })
	return nil
}

// ListStreams returns the ids of all streams, oldest first.
func (s *Service) ListStreams() []string {
	out := make([]string, 0, len(s.order))
	for _, st := range s.order {
		out = append(out, st.info.StreamID)
	}
	return out
}
