package api

import (
	"crypto/sha1" //nolint:gosec // a checksum that clients may choose, not a protection
	"crypto/sha256"
	"encoding/base64"
	"hash"
	"hash/crc32"
	"hash/crc64"
)

// checksums are the algorithms of x-amz-checksum-*, big-endian in base64.
var checksums = []struct {
	name string
	make func() hash.Hash
}{
	{"crc32", func() hash.Hash { return crc32.NewIEEE() }},
	{"crc32c", func() hash.Hash { return crc32.New(crc32.MakeTable(crc32.Castagnoli)) }},
	{"crc64nvme", func() hash.Hash { return crc64.New(crc64.MakeTable(0x9a6c9329ac4bc9b5)) }},
	{"sha1", sha1.New},
	{"sha256", sha256.New},
}

// verifyChecksums compares a body with the checksums sent along, by header or
// trailer name in lower case.
func verifyChecksums(sent map[string]string, body []byte) error {
	for _, c := range checksums {
		want, ok := sent["x-amz-checksum-"+c.name]
		if !ok {
			continue
		}
		sum := c.make()
		sum.Write(body)
		if base64.StdEncoding.EncodeToString(sum.Sum(nil)) != want {
			return &refusal{400, "BadDigest", "The " + c.name + " you specified did not match the calculated checksum."}
		}
	}
	return nil
}
