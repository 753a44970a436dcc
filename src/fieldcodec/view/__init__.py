"""The page that `fieldcodec view` serves on this machine: a volume to turn, cut and compare in a browser.

    Source (grids, one pair at a time) -> answers (cells, layers, surfaces, facts) -> server -> static/ (the page)

The server is the standard library's and binds to 127.0.0.1 only. The page is plain HTML, CSS and JavaScript modules;
its only library, three.js, lies beside it in one file (static/vendor/README.md says where it comes from).
"""
