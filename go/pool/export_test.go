package pool

// KeptByCommits is how much memory the writes have that are over.
func KeptByCommits() (bytes int) {
	commits.each(func(w *commit) { bytes += w.c.Kept() + w.batch.Kept() })
	return bytes
}
