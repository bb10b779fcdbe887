// lookup.js system|c-ares NAME...: one line for each: NAME MILLISECONDS ADDRESSES|ERROR
const { lookup, resolve4, resolve6 } = require("dns").promises;
const ways = {
  system: async (name) => (await lookup(name, { all: true })).map((one) => one.address),
  "c-ares": async (name) => {
    const both = await Promise.allSettled([resolve4(name), resolve6(name)]);
    const good = both.filter((one) => one.status === "fulfilled").flatMap((one) => one.value);
    if (good.length === 0) throw both[0].reason;
    return good;
  },
};
(async () => {
  const [way, ...names] = process.argv.slice(2);
  for (const name of names) {
    const begin = performance.now();
    const found = await ways[way](name).catch((error) => ["error", error.code]);
    console.log(name, (performance.now() - begin).toFixed(1), ...found);
  }
})();
