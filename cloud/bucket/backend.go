package bucket

import (
	"io"
	"maps"
	"sort"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// backend corrects the memory backend: answers that depend on the host, which
// are bucket listings in map order and copies dated by the wall clock, and
// metadata that a new version takes over from the one before.
type backend struct {
	*s3mem.Backend
	clock clock
}

func (b backend) ListBuckets() ([]gofakes3.BucketInfo, error) {
	list, err := b.Backend.ListBuckets()
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	return list, err
}

func (b backend) CopyObject(srcBucket, srcKey, dstBucket, dstKey string, meta map[string]string) (gofakes3.CopyObjectResult, error) {
	result, err := b.Backend.CopyObject(srcBucket, srcKey, dstBucket, dstKey, meta)
	result.LastModified = gofakes3.NewContentTime(b.clock.Now())
	return result, err
}

// PutObject sets what the version before has and the new one has not to "",
// since the memory backend keeps only what is absent. Readers drop it.
func (b backend) PutObject(bucket, key string, meta map[string]string, input io.Reader, size int64, cond *gofakes3.PutConditions) (gofakes3.PutObjectResult, error) {
	if before, err := b.Backend.HeadObject(bucket, key); err == nil {
		for k := range before.Metadata {
			if _, ok := meta[k]; !ok {
				meta[k] = ""
			}
		}
	}
	return b.Backend.PutObject(bucket, key, meta, input, size, cond)
}

// own returns an object with the metadata that is its own.
func own(o *gofakes3.Object, err error) (*gofakes3.Object, error) {
	if o != nil {
		o.Metadata = maps.Clone(o.Metadata)
		maps.DeleteFunc(o.Metadata, func(_, v string) bool { return v == "" })
	}
	return o, err
}

func (b backend) GetObject(bucket, key string, r *gofakes3.ObjectRangeRequest) (*gofakes3.Object, error) {
	return own(b.Backend.GetObject(bucket, key, r))
}

func (b backend) HeadObject(bucket, key string) (*gofakes3.Object, error) {
	return own(b.Backend.HeadObject(bucket, key))
}

func (b backend) GetObjectVersion(bucket, key string, v gofakes3.VersionID, r *gofakes3.ObjectRangeRequest) (*gofakes3.Object, error) {
	return own(b.Backend.GetObjectVersion(bucket, key, v, r))
}

func (b backend) HeadObjectVersion(bucket, key string, v gofakes3.VersionID) (*gofakes3.Object, error) {
	return own(b.Backend.HeadObjectVersion(bucket, key, v))
}
