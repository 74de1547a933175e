package script

import (
	"strconv"
	"strings"
)

// signature is well-formed base64. The model platform does not look at it, so it is short.
const signature = "MEQCBg=="

// text makes a job document.
func text(job, details, ota string) string {
	return `{"clientToken":"0:dev","timestamp":1602795143,"execution":{"jobId":"` + job + `","status":"QUEUED",` + details + `"jobDocument":{"afr_ota":{` + ota + `}}}}`
}

func file(protocol, stream, size, id, more string) string {
	return `"protocols":["` + protocol + `"],"streamname":"` + stream + `","files":[{"filepath":"fw.bin","filesize":` + size + `,"fileid":` + id +
		`,"certfile":"/cert.pem","sig-sha256-ecdsa":"` + signature + `"` + more + `}]`
}

// Documents are what Doc delivers to the agent: good jobs first.
var Documents = func() [][]byte {
	plain := file("MQTT", "s-1", "600", "0", "")
	texts := []string{
		text("AFR_OTA-1", "", plain),
		text("AFR_OTA-longer-2", "", file("MQTT", "s-2", "1300", "1", "")),
		text("AFR_OTA-3", "", file("HTTP", "s-3", "700", "0", `,"update_data_url":"https://bucket/a","auth_scheme":"aws.s3.presigned"`)),
		text("AFR_OTA-1", `"statusDetails":{"self_test":"ready","updatedBy":"0x10001"},`, plain),
		text("AFR_OTA-1", `"statusDetails":{"self_test":"active","updatedBy":"0x10002"},`, plain),
		text("AFR_OTA-1", `"statusDetails":{"self_test":"ready","updatedBy":"0x90009"},`, plain),
		`{"clientToken":"0:dev","timestamp":1}`,
		`{"timestamp":1,"execution":{}}`,
		text("AFR_OTA-1", "", file("MQTT", "s-9", "900", "3", "")), // the same job, another file
		text("AFR_OTA-4", "", file("MQTT", "s-1", "256", "0", `,"fileType":101`)),
		text("AFR_OTA-5", "", file("CoAP", "s-1", "600", "0", "")),
		text("AFR_OTA-6", "", file("MQTT", "s-1", "0", "0", "")),
		text("AFR_OTA-7", "", file("MQTT", "s-1", "4294967295", "0", "")),
		text("AFR_OTA-8", "", file("MQTT", "s-1", "262400", "0", "")), // 1025 blocks
		text("AFR_OTA-9", "", file("MQTT", "s-1", "262144", "0", "")), // 1024 blocks
		text("AFR_OTA-1", `"statusDetails":{"self_test":"false"},`, plain),
		text(strings.Repeat("J", 72), "", plain),
		text(strings.Repeat("J", 73), "", plain),
		text("AFR_OTA-10", "", strings.ReplaceAll(plain, "Bg==", "Bh==")),
		text("AFR_OTA-11", "", plain) + "x",
		text("AFR_OTA-12", "", `"protocols":["MQTT"],"streamname":"s-1","files":[{"filesize":"1e6","fileid":0}]`),
		`{"execution":{"jobId":"reboot-1","jobDocument":{"reboot":true}}}`,
		`{"execution":`,
		"",
	}
	docs := make([][]byte, len(texts))
	for i, t := range texts {
		docs[i] = []byte(t)
	}
	return docs
}()

// jobOf is the id under which a status about the document may come.
var jobOf = func() []string {
	jobs := make([]string, len(Documents))
	for i, doc := range Documents {
		if _, rest, ok := strings.Cut(string(doc), `"jobId":"`); ok {
			jobs[i], _, _ = strings.Cut(rest, `"`)
		}
	}
	return jobs
}()

// freshDoc is the job that tests whether an agent still takes one; it is longer than any other id.
var freshDoc = []byte(text(freshJob, "", file("MQTT", "s-fresh", "300", "0", "")))

// Damages are the ways in which a block message is wrong.
var Damages = []string{"no map", "empty", "cut short", "payload shorter than it claims", "payload longer than a block", "index above 32 bits",
	"map of four billion entries", "nested maps", "negative index", "no payload"}

// The block size of scripted agents, and the most blocks whose messages are kept ready.
const (
	blockLog2  = 8
	blockSize  = 1 << blockLog2
	readyFiles = 4
	readyBlock = 8
)

func head(b []byte, major byte, v uint32) []byte {
	switch {
	case v < 24:
		return append(b, major<<5|byte(v))
	case v < 1<<8:
		return append(b, major<<5|24, byte(v))
	case v < 1<<16:
		return append(b, major<<5|25, byte(v>>8), byte(v))
	}
	return append(b, major<<5|26, byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
}

// blockMessage encodes a block of size bytes: a4 "f":file "i":index "l":size "p":payload.
func blockMessage(id, index, size uint32, payload []byte) []byte {
	b := make([]byte, 0, 32+len(payload))
	b = head(append(b, 0xa4, 0x61, 'f'), 0, id)
	b = head(append(b, 0x61, 'i'), 0, index)
	b = head(append(b, 0x61, 'l'), 0, size)
	return append(head(append(b, 0x61, 'p'), 2, uint32(len(payload))), payload...)
}

// content is the bytes of a block: no two blocks of a file, and no two files, have the same.
func content(id, index, size uint32) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(index*31 + id*7 + uint32(i))
	}
	copy(b, strconv.FormatUint(uint64(id)<<32|uint64(index), 16))
	return b
}

// ready has the messages of whole blocks of small files.
var ready = func() (m [readyFiles][readyBlock][]byte) {
	for id := range uint32(readyFiles) {
		for i := range uint32(readyBlock) {
			m[id][i] = blockMessage(id, i, blockSize, content(id, i, blockSize))
		}
	}
	return m
}()

// wholeBlock is the message of a block that has the whole size.
func wholeBlock(id, index uint32) []byte {
	if id < readyFiles && index < readyBlock {
		return ready[id][index]
	}
	return blockMessage(id, index, blockSize, content(id, index, blockSize))
}

// damaged is a message of the kind that Damages names.
func damaged(kind int, id uint32) []byte {
	switch kind {
	case 0:
		return []byte{0x80}
	case 1:
		return nil
	case 2:
		return wholeBlock(id, 0)[:40]
	case 3:
		return blockMessage(id, 0, blockSize, content(id, 9, 100))
	case 4:
		return blockMessage(id, 0, blockSize+16, content(id, 0, blockSize+16))
	case 5:
		m := append(head([]byte{0xa4, 0x61, 'f'}, 0, id), 0x61, 'i', 0x1b, 0, 0, 0, 1, 0, 0, 0, 1, 0x61, 'l')
		m = append(head(m, 0, blockSize), 0x61, 'p')
		return append(head(m, 2, blockSize), content(id, 1, blockSize)...)
	case 6:
		return []byte{0xba, 0xff, 0xff, 0xff, 0xff, 0x61, 'f', 0}
	case 7:
		m := make([]byte, 400)
		for i := range m {
			m[i] = 0xa1
		}
		return m
	case 8:
		return []byte{0xa4, 0x61, 'f', 0, 0x61, 'i', 0x20, 0x61, 'l', 1, 0x61, 'p', 0x41, 0}
	}
	return []byte{0xa3, 0x61, 'f', 0, 0x61, 'i', 0, 0x61, 'l', 1}
}
