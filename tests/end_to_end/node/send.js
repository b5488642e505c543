// Sends one event of each type with Segment's own client: node send.js URL WRITE_KEY
import { Analytics } from "@segment/analytics-node";

const [host, writeKey] = process.argv.slice(2);
const analytics = new Analytics({ writeKey, host });
analytics.on("error", (error) => {
  console.error(error);
  process.exitCode = 1;
});
analytics.identify({ userId: "node-1", traits: { email: "node@example.com", plan: "größer" } });
analytics.track({ userId: "node-1", event: "Order Completed", properties: { revenue: 19.99 } });
analytics.page({ anonymousId: "node-anonymous", name: "Home" });
analytics.screen({ userId: "node-1", name: "Main" });
analytics.group({ userId: "node-1", groupId: "initech", traits: { employees: 329 } });
analytics.alias({ userId: "node-1", previousId: "node-0" });
await analytics.closeAndFlush({ timeout: 10_000 });
