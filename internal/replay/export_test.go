package replay

// InBatches reads n events at a time.
func (o Options) InBatches(n int) Options {
	o.batch = n
	return o
}
