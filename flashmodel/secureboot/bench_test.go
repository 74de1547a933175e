package secureboot

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

func BenchmarkCheck(b *testing.B) {
	content := bytes.Repeat([]byte{1}, 4096)
	for name, key := range allKeys(b) {
		signed, err := SignV2(content, []*Key{key}, SignOptions{})
		require.NoError(b, err)
		block := DecodeV2(signed[4096:])[0]
		digest := block.hashOf(content)
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := block.VerifyWithOwnKey(digest); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
