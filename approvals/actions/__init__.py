"""Every change of what is asked and answered: one file, one ``Command``, one ``apply(writer, command)`` each."""
