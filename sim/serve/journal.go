package serve

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/fxamacker/cbor/v2"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/otasim/otasim/sim/live"
)

// ErrJournal is wrapped by what is wrong with the content of a data directory.
var ErrJournal = errors.New("data directory")

// Buckets of the database.
var (
	metaBucket     = []byte("meta")     // "identity" -> identity
	logBucket      = []byte("log")      // big-endian number of a record, from 1 -> record
	bodiesBucket   = []byte("bodies")   // SHA-256 -> content of a large request body
	retainedBucket = []byte("retained") // topic -> live.Message
	sessionsBucket = []byte("sessions") // client id -> live.Session
	queuesBucket   = []byte("queues")   // client id, 0, big-endian number -> live.Message
)

// largeBody is the size from which a request body is stored by content.
const largeBody = 4096

// identity is what a cloud is made from; it never changes.
type identity struct {
	Format   int      `cbor:"1,keyasint"` // of records
	Region   string   `cbor:"2,keyasint"`
	Account  string   `cbor:"3,keyasint"`
	Quotas   string   `cbor:"4,keyasint"`
	Seed     []byte   `cbor:"5,keyasint"`
	Epoch    int64    `cbor:"6,keyasint"` // unix nanoseconds
	Switches []string `cbor:"7,keyasint,omitempty"`
}

// format of records; another one cannot be read.
const format = 2

// A record is one call that may have changed the cloud.
type record struct {
	Time int64  `cbor:"1,keyasint"` // unix nanoseconds
	Body []byte `cbor:"2,keyasint,omitempty"`
	Sum  []byte `cbor:"3,keyasint,omitempty"` // of a large body, which is not in Body

	// A message on a reserved topic.
	Client string `cbor:"4,keyasint,omitempty"`
	Topic  string `cbor:"5,keyasint,omitempty"`

	// A request over HTTP; see api.Call.
	Service string              `cbor:"6,keyasint,omitempty"`
	Method  string              `cbor:"7,keyasint,omitempty"`
	Target  string              `cbor:"8,keyasint,omitempty"`
	Header  map[string][]string `cbor:"9,keyasint,omitempty"`
}

// A change is a record to append, or the new value of a key; nil removes it. Keys of
// sessions take their queues with them.
type change struct {
	record *record
	bucket []byte
	key    []byte
	value  []byte
}

// A journal keeps records, and values by key, in a bbolt database: many changes in one
// transaction, in the order in which they were noted.
//
//	append, put -> pending -> (transaction, fsync) -> durable
//
// commit returns once all that was noted before is durable.
type journal struct {
	db   *bbolt.DB
	done chan struct{}
	last uint64 // number of the last record that is durable; of write

	mu      sync.Mutex
	changed sync.Cond // any of what follows
	pending []change
	noted   uint64 // number of the last change
	durable uint64
	err     error // why nothing will be durable any more
	held    bool  // what is pending is not complete
	closed  bool
	failed  chan struct{} // closed with err
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
		for _, name := range [][]byte{metaBucket, logBucket, bodiesBucket, retainedBucket, sessionsBucket, queuesBucket} {
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
				j.last = binary.BigEndian.Uint64(k)
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

// kept reads what is kept by key. It is for the time before put.
func (j *journal) kept() (live.Kept, error) {
	k := live.Kept{Retained: map[string]live.Message{}, Sessions: map[string]live.KeptSession{}}
	broken := func(what string, key []byte, err error) error {
		return fmt.Errorf("%w: %s %.80q: %w", ErrJournal, what, key, err)
	}
	return k, j.db.View(func(tx *bbolt.Tx) error {
		return errors.Join(tx.Bucket(retainedBucket).ForEach(func(key, v []byte) error {
			var m live.Message
			if err := cbor.Unmarshal(v, &m); err != nil {
				return broken("retained message", key, err)
			}
			k.Retained[string(key)] = m
			return nil
		}), tx.Bucket(sessionsBucket).ForEach(func(key, v []byte) error {
			s := live.KeptSession{Queue: map[uint64]live.Message{}}
			if err := cbor.Unmarshal(v, &s.Session); err != nil {
				return broken("session", key, err)
			}
			k.Sessions[string(key)] = s
			return nil
		}), tx.Bucket(queuesBucket).ForEach(func(key, v []byte) error {
			n := len(key) - 9
			if n < 0 || key[n] != 0 {
				return broken("queued message", key, errors.New("no key of one"))
			}
			s, ok := k.Sessions[string(key[:n])]
			if !ok {
				return broken("queued message", key, errors.New("there is no such session"))
			}
			var m live.Message
			if err := cbor.Unmarshal(v, &m); err != nil {
				return broken("queued message", key, err)
			}
			s.Queue[binary.BigEndian.Uint64(key[n+1:])] = m
			return nil
		}))
	})
}

// append notes a call. Calls are noted in the order in which the cloud saw them.
func (j *journal) append(r record) { j.note(change{record: &r}) }

// put notes a value, or with v nil that there is none. Values encode.
func (j *journal) put(bucket []byte, key string, v any) {
	c := change{bucket: bucket, key: []byte(key)}
	if v != nil {
		var err error
		if c.value, err = cbor.Marshal(v); err != nil {
			j.fail(err)
			return
		}
	}
	j.note(c)
}

func (j *journal) note(c change) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.pending = append(j.pending, c)
	j.noted++
	j.changed.Broadcast()
}

// hold keeps what is noted from being written until all that belongs together is noted.
func (j *journal) hold(on bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.held = on; !on && len(j.pending) > 0 {
		j.changed.Broadcast()
	}
}

// commit waits until all that was noted is durable.
func (j *journal) commit() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for last := j.noted; j.durable < last; {
		if j.err != nil {
			return j.err
		}
		j.changed.Wait()
	}
	return nil
}

// fail says that nothing will be durable any more.
func (j *journal) fail(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err == nil {
		j.err = fmt.Errorf("journal: %w", err)
		j.changed.Broadcast()
		close(j.failed)
	}
}

// write makes what was noted durable until close, or until the disk fails.
func (j *journal) write() {
	defer close(j.done)
	for {
		j.mu.Lock()
		for (len(j.pending) == 0 || j.held) && !j.closed && j.err == nil {
			j.changed.Wait()
		}
		batch := j.pending
		j.pending = nil
		failed := j.err != nil
		j.mu.Unlock()
		if failed || len(batch) == 0 {
			return
		}
		last := j.last
		if err := j.db.Update(func(tx *bbolt.Tx) (err error) { last, err = store(tx, j.last, batch); return err }); err != nil {
			j.fail(err)
			return
		}
		j.last = last
		j.mu.Lock()
		j.durable += uint64(len(batch))
		j.changed.Broadcast()
		j.mu.Unlock()
	}
}

// store puts changes into the database. last is the number of the last record.
func store(tx *bbolt.Tx, last uint64, batch []change) (uint64, error) {
	log, bodies := tx.Bucket(logBucket), tx.Bucket(bodiesBucket)
	log.FillPercent = 1 // records only ever follow one another
	for i := range batch {
		c := &batch[i]
		if c.record == nil {
			if err := c.apply(tx); err != nil {
				return last, err
			}
			continue
		}
		r := *c.record
		if len(r.Body) >= largeBody {
			sum := sha256.Sum256(r.Body)
			if bodies.Get(sum[:]) == nil {
				if err := bodies.Put(sum[:], r.Body); err != nil {
					return last, err
				}
			}
			r.Body, r.Sum = nil, sum[:]
		}
		b, err := cbor.Marshal(r)
		if err != nil {
			return last, err
		}
		last++
		if err := log.Put(binary.BigEndian.AppendUint64(nil, last), b); err != nil {
			return last, err
		}
	}
	return last, nil
}

// apply puts a value.
func (c *change) apply(tx *bbolt.Tx) error {
	b := tx.Bucket(c.bucket)
	if c.value != nil {
		return b.Put(c.key, c.value)
	}
	if &c.bucket[0] == &sessionsBucket[0] {
		prefix := append(slices.Clone(c.key), 0)
		queue := tx.Bucket(queuesBucket).Cursor()
		for k, _ := queue.Seek(prefix); bytes.HasPrefix(k, prefix) && len(k) == len(prefix)+8; k, _ = queue.Seek(prefix) {
			if err := queue.Delete(); err != nil {
				return err
			}
		}
	}
	return b.Delete(c.key)
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
