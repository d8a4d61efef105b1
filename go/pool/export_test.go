package pool

// KeptByCommits is how much memory the writes have that are over.
func KeptByCommits() (bytes int) {
	commits.each(func(w *commit) { bytes += w.c.Kept() + w.batch.Kept() })
	return bytes
}

// AsksForDurability says whether the pool's next plain write is to ask if it waits for the disk.
func (p *ConnectionPool) AsksForDurability() bool { return p.durable.Load() == durableUnknown }
