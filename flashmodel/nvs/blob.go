package nvs

// A blob is stored as chunks, at most one a page, and an index that names their
// number and total size. The chunks are numbered from 00 or from 80; a new value
// takes the other range, so that the old one stays whole until the new index is
// written.

func chunkQuery(ns uint8, key string, chunk uint8) query {
	return query{ns: ns, t: blobData, key: key, chunk: chunk, first: anyChunk}
}

func (p *Partition) writeBlob(ns uint8, key string, data []byte, first uint8) Err {
	if len(data) > min(len(p.pages)-1, (anyChunk-1)/2)*MaxChunk {
		return ErrValueTooLong
	}
	var written []*page
	err := p.writeChunks(ns, key, data, first, &written)
	if err != OK {
		// The numbers do not account for first; so does the original.
		for i, g := range written {
			_ = g.eraseItem(chunkQuery(ns, key, uint8(i)))
		}
	}
	return err
}

func (p *Partition) writeChunks(ns uint8, key string, data []byte, first uint8, written *[]*page) Err {
	chunks := 0
	for rest := data; ; {
		g := p.current()
		room := g.tailroom()
		if chunks == 0 && (room < len(data) || room == 0 && len(data) == 0) && room < MaxChunk/10 {
			// Not worth beginning here.
			if err := p.fullAndNew(g); err != OK {
				return err
			}
			if p.current().tailroom() == room {
				return ErrNotEnoughSpace
			}
			continue
		}
		if room == 0 {
			return ErrNotEnoughSpace
		}
		n := min(len(rest), room)
		err := g.writeItem(ns, blobData, key, rest[:n], first+uint8(chunks))
		chunks++
		if err != OK {
			return err
		}
		*written = append(*written, g)
		rest = rest[n:]
		if len(rest) > 0 || room-n < EntrySize {
			if err := p.fullAndNew(g); err != OK {
				return err
			}
		}
		if len(rest) == 0 {
			var e entry
			copy(e[:], erasedPage)
			e.setIndex(len(data), chunks, first)
			return p.current().writeItem(ns, blobIndex, key, e[24:], anyChunk)
		}
	}
}

func (p *Partition) fullAndNew(g *page) Err {
	if g.state != stateFull {
		if err := g.markFull(); err != OK {
			return err
		}
	}
	return p.newPage()
}

func (p *Partition) readBlob(ns uint8, key string, dst []byte) Err {
	var index, item entry
	if _, _, err := p.find(itemQuery(ns, blobIndex, key), &index); err != OK {
		return err
	}
	if len(dst) != int(index.indexSize()) {
		return ErrFail
	}
	done := 0
	for i := range index.chunkCount() {
		g, at, err := p.find(chunkQuery(ns, key, index.firstChunk()+uint8(i)), &item)
		if err == OK && item.dataSize() > len(dst)-done {
			err = ErrInvalidLength
		}
		if err != OK {
			_ = p.eraseBlob(ns, key, anyChunk)
			if done != len(dst) {
				err = ErrFail
			}
			return err
		}
		if err := g.readContent(&item, at, dst[done:]); err != OK {
			return err
		}
		done += item.dataSize()
	}
	if done != len(dst) {
		return ErrFail
	}
	return OK
}

// compareBlob reports by OK that the stored blob equals data. It compares the
// checksum of every chunk with the beginning of data, as the original does: a
// blob of several chunks always counts as different.
func (p *Partition) compareBlob(ns uint8, key string, data []byte) Err {
	var index, item entry
	if _, _, err := p.find(itemQuery(ns, blobIndex, key), &index); err != OK {
		return err
	}
	if len(data) != int(index.indexSize()) {
		return ErrContentDiffers
	}
	done := 0
	for i := range index.chunkCount() {
		q := chunkQuery(ns, key, index.firstChunk()+uint8(i))
		g, _, err := p.find(q, &item)
		if err != OK {
			return err
		}
		n := item.dataSize()
		if n > len(data)-done || checksum(data[:n]) != item.dataCRC() {
			return ErrContentDiffers
		}
		if err := g.compare(q, data[done:done+n]); err != OK {
			return err
		}
		done += n
	}
	if done != len(data) {
		return ErrFail
	}
	return OK
}

// eraseBlob erases the index that names the first chunk number, then its
// chunks; anyChunk stands for both values and all chunks.
func (p *Partition) eraseBlob(ns uint8, key string, first uint8) Err {
	var item entry
	q := itemQuery(ns, blobIndex, key)
	q.first = first
	g, at, err := p.find(q, &item)
	if err != OK {
		return err
	}
	chunks := item.chunkCount()
	if err := g.eraseItemAt(at); err != OK {
		return err
	}
	if first == anyChunk {
		return p.eraseAllChunks(ns, key)
	}
	if first != 0 && first != secondVersion {
		return OK
	}
	for c, end := first, first+uint8(chunks); c < end; c++ {
		g, at, err := p.find(chunkQuery(ns, key, c), &item)
		if err != OK {
			return err
		}
		if err := g.eraseItemAt(at); err != OK {
			return err
		}
	}
	return OK
}

func (p *Partition) eraseAllChunks(ns uint8, key string) Err {
	var item entry
	if g, at, err := p.find(itemQuery(ns, blobIndex, key), &item); err == OK {
		if err := g.eraseItemAt(at); err != OK {
			return err
		}
	}
	for _, g := range p.order {
		for from := 0; from < EntryCount; {
			at, err := g.find(chunkQuery(ns, key, anyChunk), from, &item)
			if err == ErrNotFound {
				break
			}
			if err == OK {
				err = g.eraseItemAt(at)
				from = at + item.span()
			}
			if err != OK {
				return err
			}
		}
	}
	return OK
}

// blobSum is a blob index and what its chunks add up to.
type blobSum struct {
	ns           uint8
	key          string
	first        uint8
	size, seen   int
	count, found int
}

// covers reports whether a chunk belongs to the blob, by the range of numbers
// up to limit.
func (b *blobSum) covers(e *entry, limit int) bool {
	return e.namespace() == b.ns && sameKey(b.key, e) && e.chunk() >= b.first && int(e.chunk()) < limit
}

// dropBrokenBlobs erases blob indexes whose chunks are not all there, then all
// chunks that no index covers.
func (p *Partition) dropBrokenBlobs() {
	var blobs []blobSum
	p.each(blobIndex, func(_ *page, e *entry) {
		blobs = append(blobs, blobSum{
			ns: e.namespace(), key: string(e.keyBytes()), first: e.firstChunk(), size: int(e.indexSize()), count: e.chunkCount(),
		})
	})
	owner := func(e *entry, limit func(*blobSum) int) *blobSum {
		for i := range blobs {
			if b := &blobs[i]; b.covers(e, limit(b)) {
				return b
			}
		}
		return nil
	}
	p.each(blobData, func(_ *page, e *entry) {
		b := owner(e, func(b *blobSum) int {
			if b.first == 0 {
				return secondVersion
			}
			return anyChunk
		})
		if b != nil {
			b.seen += e.dataSize()
			b.found++
		}
	})
	whole := blobs[:0]
	for _, b := range blobs {
		if b.seen == b.size && b.found == b.count {
			whole = append(whole, b)
			continue
		}
		q := itemQuery(b.ns, blobIndex, b.key)
		q.first = b.first
		for _, g := range p.order {
			if g.numbered() && g.eraseItem(q) == OK {
				break
			}
		}
	}
	blobs = whole
	p.each(blobData, func(g *page, e *entry) {
		if owner(e, func(b *blobSum) int { return int(b.first) + b.count }) == nil {
			_ = g.eraseItem(chunkQuery(e.namespace(), string(e.keyBytes()), e.chunk()))
		}
	})
}

// each visits all items of a type in the order of pages and entries.
func (p *Partition) each(t Type, visit func(*page, *entry)) {
	q := query{ns: anyNamespace, t: t, anyKey: true, chunk: anyChunk, first: anyChunk}
	var item entry
	for _, g := range p.order {
		for from := 0; ; {
			at, err := g.find(q, from, &item)
			if err != OK {
				break
			}
			e := item
			visit(g, &e)
			from = at + item.span()
		}
	}
}
