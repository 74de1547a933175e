package serve

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/fxamacker/cbor/v2"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// ErrJournal is wrapped by what is wrong with the content of a data directory.
var ErrJournal = errors.New("data directory")

// Buckets of the database.
var (
	metaBucket   = []byte("meta")   // "identity" -> identity
	logBucket    = []byte("log")    // big-endian number of a record, from 1 -> record
	bodiesBucket = []byte("bodies") // SHA-256 -> content of a large request body
)

// largeBody is the size from which a request body is stored by content.
const largeBody = 4096

// identity is what a cloud is made from; it never changes.
type identity struct {
	Format  int    `cbor:"1,keyasint"` // of records
	Region  string `cbor:"2,keyasint"`
	Account string `cbor:"3,keyasint"`
	Quotas  string `cbor:"4,keyasint"`
	Seed    []byte `cbor:"5,keyasint"`
	Epoch   int64  `cbor:"6,keyasint"` // unix nanoseconds
}

// format of records; another one cannot be read.
const format = 1

// A record is one call that may have changed the cloud.
type record struct {
	Time int64  `cbor:"1,keyasint"` // unix nanoseconds
	Body []byte `cbor:"2,keyasint,omitempty"`
	Sum  []byte `cbor:"3,keyasint,omitempty"` // of a large body, which is not in Body

	// A message on a reserved topic, or one to retain.
	Client string `cbor:"4,keyasint,omitempty"`
	Topic  string `cbor:"5,keyasint,omitempty"`
	Retain bool   `cbor:"10,keyasint,omitempty"`
	QoS    byte   `cbor:"11,keyasint,omitempty"`

	// A request over HTTP; see api.Call.
	Service string              `cbor:"6,keyasint,omitempty"`
	Method  string              `cbor:"7,keyasint,omitempty"`
	Target  string              `cbor:"8,keyasint,omitempty"`
	Header  map[string][]string `cbor:"9,keyasint,omitempty"`
}

// A journal keeps records in a bbolt database, many in one transaction.
//
//	append -> pending -> (transaction, fsync) -> durable
//
// commit returns once all that was appended before is durable.
type journal struct {
	db   *bbolt.DB
	done chan struct{}

	mu       sync.Mutex
	changed  sync.Cond // any of what follows
	pending  []record
	appended uint64 // number of the last record
	durable  uint64
	err      error // why nothing will be durable any more
	closed   bool
	failed   chan struct{} // closed with err
}

// openJournal opens or makes the database at path. fresh is the identity of a new one.
func openJournal(path string, fresh func() (identity, error)) (*journal, identity, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		if errors.Is(err, bolterrors.ErrTimeout) {
			err = errors.New("another process uses it")
		} else if errors.Is(err, bolterrors.ErrInvalid) || errors.Is(err, bolterrors.ErrVersionMismatch) || errors.Is(err, bolterrors.ErrChecksum) {
			err = fmt.Errorf("%w: %w", ErrJournal, err)
		}
		return nil, identity{}, fmt.Errorf("%s: %w", path, err)
	}
	j := &journal{db: db, done: make(chan struct{}), failed: make(chan struct{})}
	j.changed.L = &j.mu
	var id identity
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{metaBucket, logBucket, bodiesBucket} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		meta := tx.Bucket(metaBucket)
		if b := meta.Get([]byte("identity")); b != nil {
			if err := cbor.Unmarshal(b, &id); err != nil {
				return fmt.Errorf("%w: identity: %w", ErrJournal, err)
			}
			if id.Format != format {
				return fmt.Errorf("%w: its format is %d, this version reads %d", ErrJournal, id.Format, format)
			}
			if k, _ := tx.Bucket(logBucket).Cursor().Last(); len(k) == 8 {
				j.appended = binary.BigEndian.Uint64(k)
			}
			return nil
		}
		var err error
		if id, err = fresh(); err != nil {
			return err
		}
		b, err := cbor.Marshal(id)
		if err != nil {
			return err
		}
		return meta.Put([]byte("identity"), b)
	})
	if err != nil {
		_ = db.Close()
		return nil, identity{}, fmt.Errorf("%s: %w", path, err)
	}
	j.durable = j.appended
	go j.write()
	return j, id, nil
}

// replay calls fn for each record, oldest first. It is for the time before append.
func (j *journal) replay(fn func(number uint64, r *record) error) error {
	return j.db.View(func(tx *bbolt.Tx) error {
		bodies := tx.Bucket(bodiesBucket)
		next := uint64(1)
		return tx.Bucket(logBucket).ForEach(func(k, v []byte) error {
			if len(k) != 8 {
				return fmt.Errorf("%w: a record has the number %x", ErrJournal, k)
			}
			number := binary.BigEndian.Uint64(k)
			if number != next {
				return fmt.Errorf("%w: record %d follows record %d", ErrJournal, number, next-1)
			}
			next++
			var r record
			if err := cbor.Unmarshal(v, &r); err != nil {
				return fmt.Errorf("%w: record %d: %w", ErrJournal, number, err)
			}
			if r.Sum != nil {
				body := bodies.Get(r.Sum)
				if body == nil {
					return fmt.Errorf("%w: record %d: its body is missing", ErrJournal, number)
				}
				r.Body = append([]byte(nil), body...) // the database's memory ends with the transaction
			}
			return fn(number, &r)
		})
	})
}

// append notes a call. Calls are noted in the order in which the cloud saw them.
func (j *journal) append(r record) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.pending = append(j.pending, r)
	j.appended++
	j.changed.Broadcast()
}

// commit waits until all that was appended is durable.
func (j *journal) commit() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for last := j.appended; j.durable < last; {
		if j.err != nil {
			return j.err
		}
		j.changed.Wait()
	}
	return nil
}

// write makes what was appended durable until close, or until the disk fails.
func (j *journal) write() {
	defer close(j.done)
	j.mu.Lock()
	defer j.mu.Unlock()
	for {
		for len(j.pending) == 0 && !j.closed {
			j.changed.Wait()
		}
		if len(j.pending) == 0 {
			return
		}
		batch := j.pending
		first := j.appended - uint64(len(batch)) + 1
		j.pending = nil
		j.mu.Unlock()
		err := j.db.Update(func(tx *bbolt.Tx) error { return store(tx, first, batch) })
		j.mu.Lock()
		if err != nil {
			j.err = fmt.Errorf("journal: %w", err)
			j.changed.Broadcast()
			close(j.failed)
			return
		}
		j.durable = first + uint64(len(batch)) - 1
		j.changed.Broadcast()
	}
}

// store puts records into the database.
func store(tx *bbolt.Tx, first uint64, batch []record) error {
	log, bodies := tx.Bucket(logBucket), tx.Bucket(bodiesBucket)
	log.FillPercent = 1 // records only ever follow one another
	for i, r := range batch {
		if len(r.Body) >= largeBody {
			sum := sha256.Sum256(r.Body)
			if bodies.Get(sum[:]) == nil {
				if err := bodies.Put(sum[:], r.Body); err != nil {
					return err
				}
			}
			r.Body, r.Sum = nil, sum[:]
		}
		b, err := cbor.Marshal(r)
		if err != nil {
			return err
		}
		if err := log.Put(binary.BigEndian.AppendUint64(nil, first+uint64(i)), b); err != nil {
			return err
		}
	}
	return nil
}

// close makes durable what was appended and closes the database.
func (j *journal) close() error {
	j.mu.Lock()
	j.closed = true
	j.changed.Broadcast()
	j.mu.Unlock()
	<-j.done
	return errors.Join(j.err, j.db.Close())
}
