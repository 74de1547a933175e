package serve

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"

	"github.com/otasim/otasim/sim/live"
)

func opened(t *testing.T, path string) *journal {
	j, _, err := openJournal(path, func() (identity, error) { return identity{Format: format, Seed: make([]byte, 32)}, nil })
	require.NoError(t, err)
	return j
}

func TestJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j.db")
	j := opened(t, path)
	large := bytes.Repeat([]byte("x"), largeBody)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range 20 {
				j.append(record{Time: int64(i), Topic: "t", Body: large[:i]})
				if err := j.commit(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	j.append(record{Service: "s3", Method: "PUT", Target: "/b/k", Header: map[string][]string{"A": {"b"}}, Body: large})
	j.append(record{Service: "s3", Method: "PUT", Target: "/b/k", Body: large}) // the same content, stored once
	require.NoError(t, j.close())

	j = opened(t, path)
	var got []record
	require.NoError(t, j.replay(func(number uint64, r *record) error {
		require.EqualValues(t, len(got)+1, number)
		got = append(got, *r)
		return nil
	}))
	require.Len(t, got, 162)
	require.Equal(t, large, got[160].Body)
	require.Equal(t, map[string][]string{"A": {"b"}}, got[160].Header)
	require.Equal(t, large, got[161].Body)
	require.NoError(t, j.db.View(func(tx *bbolt.Tx) error {
		require.Equal(t, 1, tx.Bucket(bodiesBucket).Stats().KeyN)
		return nil
	}))

	// The records that follow get the numbers that follow.
	j.append(record{Topic: "after"})
	require.NoError(t, j.commit())
	require.EqualValues(t, 163, j.last)
	require.NoError(t, j.close())
}

func TestJournalDamage(t *testing.T) {
	for name, damage := range map[string]func(tx *bbolt.Tx) error{
		"a record is missing": func(tx *bbolt.Tx) error { return tx.Bucket(logBucket).Delete([]byte{0, 0, 0, 0, 0, 0, 0, 1}) },
		"a record is noise": func(tx *bbolt.Tx) error {
			return tx.Bucket(logBucket).Put([]byte{0, 0, 0, 0, 0, 0, 0, 2}, []byte("noise"))
		},
		"a body is missing": func(tx *bbolt.Tx) error {
			k, _ := tx.Bucket(bodiesBucket).Cursor().First()
			return tx.Bucket(bodiesBucket).Delete(k)
		},
		"a number of three bytes": func(tx *bbolt.Tx) error { return tx.Bucket(logBucket).Put([]byte{0, 0, 1}, []byte("noise")) },
		"another format": func(tx *bbolt.Tx) error {
			b, err := cbor.Marshal(identity{Format: format + 1})
			return errors.Join(err, tx.Bucket(metaBucket).Put([]byte("identity"), b))
		},
		"no identity to read": func(tx *bbolt.Tx) error { return tx.Bucket(metaBucket).Put([]byte("identity"), []byte{0xff}) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "j.db")
			j := opened(t, path)
			for i := range 3 {
				j.append(record{Topic: fmt.Sprint(i), Body: make([]byte, largeBody)})
			}
			require.NoError(t, j.commit())
			require.NoError(t, j.db.Update(damage))
			require.NoError(t, j.close())
			j, _, err := openJournal(path, nil)
			if err == nil {
				err = j.replay(func(uint64, *record) error { return nil })
				require.NoError(t, j.close())
			}
			require.ErrorIs(t, err, ErrJournal)
		})
	}
}

// A disk that fails makes every commit fail, and is told once.
func TestJournalFails(t *testing.T) {
	j := opened(t, filepath.Join(t.TempDir(), "j.db"))
	require.NoError(t, j.db.Close())
	j.append(record{Topic: "lost"})
	require.ErrorIs(t, j.commit(), j.err)
	<-j.failed
	j.append(record{Topic: "lost, too"})
	require.Error(t, j.commit())
	require.Error(t, j.close())
}

// FuzzKept reads sessions, queues and retained messages from a damaged database: whatever it holds, they are read or the
// place of the damage is told.
func FuzzKept(f *testing.F) {
	good, err := cbor.Marshal(live.Message{Topic: "a/b", Payload: []byte("x")})
	require.NoError(f, err)
	f.Add("dev", good, []byte("dev\x00\x00\x00\x00\x00\x00\x00\x00\x01"))
	f.Add("", []byte{0xff}, []byte("short"))
	path := filepath.Join(f.TempDir(), "j.db")
	j, _, err := openJournal(path, func() (identity, error) { return identity{Format: format, Seed: make([]byte, 32)}, nil })
	require.NoError(f, err)
	f.Cleanup(func() { _ = j.close() })
	f.Fuzz(func(t *testing.T, client string, value, key []byte) {
		err := j.db.Update(func(tx *bbolt.Tx) error {
			for _, name := range [][]byte{retainedBucket, sessionsBucket, queuesBucket} {
				if err := errors.Join(tx.DeleteBucket(name), func() error { _, err := tx.CreateBucket(name); return err }()); err != nil {
					return err
				}
			}
			return errors.Join(tx.Bucket(retainedBucket).Put([]byte("t"+client), value), tx.Bucket(sessionsBucket).Put([]byte("c"+client), value), tx.Bucket(queuesBucket).Put(append([]byte("c"), key...), value))
		})
		if err != nil {
			t.Skip("the database takes no such key")
		}
		if _, err := j.kept(); err != nil && !errors.Is(err, ErrJournal) {
			t.Fatalf("%v is not ErrJournal", err)
		}
	})
}
