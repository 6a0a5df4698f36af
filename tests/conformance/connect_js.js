// Calls the real connect-js as it is told on stdin, and prints what came of each call.
//
// In:  {"config": {baseUrl, projectId, apiKey}, "calls": [[[method, argument, …], …], …]}
//      A call is a chain: each method is called on what the one before it returned, the first on a Connect.
//      {"$date": text} stands for a Date.
// Out: [{"value": …, "selects": […], "cacheKey": …} or {"status": …, "body": …} or {"thrown": message}, …]

const Connect = require('connect-js');

function revive(name, value) {
  return value && value.$date ? new Date(value.$date) : value;
}

function settled(value) {
  if (!(value instanceof Connect.QueryResults)) return { value };
  const { metadata, results, cacheKey } = value;
  return { value: { metadata, results }, selects: value.selects(), cacheKey };
}

async function outcome(connect, chain) {
  let promise;
  try {
    promise = chain.reduce((object, [method, ...given]) => object[method](...given), connect);
  } catch (error) {
    return { thrown: error.message };
  }
  return promise.then(settled, (error) => ({ status: error.status, body: error.response && error.response.body }));
}

async function main() {
  const { config, calls } = JSON.parse(require('fs').readFileSync(0, 'utf8'), revive);
  const connect = new Connect(config);
  const outcomes = [];
  for (const chain of calls) outcomes.push(await outcome(connect, chain));
  process.stdout.write(JSON.stringify(outcomes));
}

main();
