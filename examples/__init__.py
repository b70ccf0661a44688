"""Programs that use Imprimatur as anyone would: through the public client, over HTTP."""
