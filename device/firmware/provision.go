package firmware

import (
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/otasim/otasim/flashmodel/nvs"
)

// Partition returns the contents of an NVS partition of size bytes that holds the identity and nothing else.
func (id Identity) Partition(size int) ([]byte, error) {
	var csv strings.Builder
	fmt.Fprintf(&csv, "key,type,encoding,value\n%s,namespace,,\n%s,data,string,%s\n", Namespace, KeyThing, id.Thing)
	for _, blob := range []struct {
		key   string
		value []byte
	}{{KeyCertificate, id.Certificate}, {KeyPrivateKey, id.Key}, {KeyCA, id.CA}, {KeyCodeSigner, id.CodeSigner}} {
		if len(blob.value) > 0 {
			fmt.Fprintf(&csv, "%s,data,base64,%s\n", blob.key, base64.StdEncoding.EncodeToString(blob.value))
		}
	}
	return nvs.Generate([]byte(csv.String()), nvs.GenerateOptions{Size: size, Version: 2})
}

