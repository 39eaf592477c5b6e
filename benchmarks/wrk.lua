-- wrk … -s wrk.lua URL -- FILE: one path a line, and after a blank its ETag, in random order.
local paths, heads = {}, {}
function init(args)
  for line in io.lines(args[1]) do
    local path, tag = line:match("^(%S+) (.+)$")
    paths[#paths + 1] = path or line
    heads[#heads + 1] = {["Accept-Encoding"] = "gzip", ["If-None-Match"] = tag}
  end
  math.randomseed(os.time())
end
function request()
  local i = math.random(#paths)
  return wrk.format("GET", paths[i], heads[i])
end
function done(s, l, r)
  local failed = s.errors.connect + s.errors.read + s.errors.write + s.errors.timeout
  io.write(string.format(
    'JSON {"per_s": %.1f, "p50_ms": %.3f, "p99_ms": %.3f, "requests": %d, "refused": %d, "failed": %d, "bytes": %d}\n',
    s.requests / (s.duration / 1e6), l:percentile(50) / 1000, l:percentile(99) / 1000,
    s.requests, s.errors.status, failed, s.bytes))
end
