-- Sends the bodies of a file, one to a line, in turn; ends with one line of JSON. Arguments: file, path.
-- Answers are counted by status: one that is not 2xx is no answer, however fast it came.

local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(arguments)
  requests, statuses = {}, {}
  for body in io.lines(arguments[1]) do
    table.insert(requests, wrk.format("POST", arguments[2], {["Content-Type"] = "application/json"}, body))
  end
  at = #requests - 1 -- wrk takes one request before it begins, and does not send it
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function response(status)
  statuses["s" .. status] = (statuses["s" .. status] or 0) + 1
end

function done(summary, latency)
  local counts = {}
  for _, thread in ipairs(threads) do
    for status, count in pairs(thread:get("statuses")) do
      counts[status] = (counts[status] or 0) + count
    end
  end
  local found = {}
  for status, count in pairs(counts) do
    table.insert(found, string.format('"%s": %d', status:sub(2), count))
  end
  local errors = summary.errors
  io.write(string.format(
    '\nJSON {"statuses": {%s}, "seconds": %.6f, "p50": %.6f, "p95": %.6f, "p99": %.6f, "broken": %d}\n',
    table.concat(found, ", "), summary.duration / 1e6,
    latency:percentile(50) / 1e6, latency:percentile(95) / 1e6, latency:percentile(99) / 1e6,
    errors.connect + errors.read + errors.write + errors.timeout))
end
