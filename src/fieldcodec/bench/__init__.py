"""`fieldcodec bench`: our methods and other codecs on one grid, at equal error.

    demands + peers -> curves.sample -> run.measure -> a JSON object -> table, picture

`peer` says what every codec must give; `peers/` holds one module for each of the others, `ours` the methods of this
package.
"""
