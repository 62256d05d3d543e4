// What the agent imports by this name is compiled into the simulator itself: the driver's decisions as they are
// (`Simulation/Product`), its connections and statements simulated (`Simulation/Database`).
