"""The recogniser as a web service: sound or features in by HTTP, text with times and confidences out.

``asr-tutorial serve`` starts it. The order in which to read: ``settings`` (what can be set), ``errors`` (one shape for
all of them), ``limits`` (what is refused before it costs anything), ``batching`` (requests of many callers in one
batch), ``engine`` (what the recogniser does with a batch), ``explain`` (numbers for pictures), ``schemas`` (what goes
over the wire), ``requests`` (from bytes to features), ``app`` (the routes), ``server`` (start and stop).

The packages that it needs are the extra ``serve``; nothing outside this folder imports them.
"""
